import {
  type Permission,
  type Principal,
  RBAC_Action,
  type RBAC as WireRules,
} from "#xds/gen/envoy/config/rbac/v3/rbac_pb.js";
import type { PathMatcher } from "#xds/gen/envoy/type/matcher/v3/path_pb.js";
import type { Rbac, RbacPredicate, RbacRules } from "../../filters/rbac.ts";
import { decodeCidr } from "./cidr.ts";
import { decodeHeader } from "./header.ts";
import type { Problems } from "./problems.ts";
import { decodeString } from "./string.ts";

const never: RbacPredicate = () => false;

/** What stands in the place of a filter that this proxy does not know and that may guard something: nobody passes. */
export const DENY_ALL: Rbac = {
  rules: { action: "ALLOW", policies: [] },
};

export function decodeRbac(
  wire: {
    rules?: WireRules | undefined;
    shadowRules?: unknown;
    matcher?: unknown;
  },
  problems: Problems,
): Rbac {
  if (wire.matcher !== undefined)
    problems.at("matcher").error("the matcher form of RBAC is not supported; use rules");
  if (wire.shadowRules !== undefined) problems.at("shadow_rules").warn("is ignored: there is no dry run");
  return {
    rules: wire.rules === undefined ? null : decodeRules(wire.rules, problems.at("rules")),
  };
}

function decodeRules(wire: WireRules, problems: Problems): RbacRules {
  const action =
    wire.action === RBAC_Action.DENY ? "DENY" : wire.action === RBAC_Action.LOG ? "LOG" : "ALLOW";
  const policies = Object.keys(wire.policies)
    .sort() // Envoy evaluates them in the order of their names
    .flatMap((name) => {
      const policy = wire.policies[name];
      if (policy === undefined) return [];
      const at = problems.at(`policies["${name}"]`);
      if (policy.condition !== undefined || policy.checkedCondition !== undefined)
        at.error("CEL conditions are not supported");
      return [
        {
          name,
          permissions: policy.permissions.map((p, i) => decodePermission(p, at.at("permissions").at(i))),
          principals: policy.principals.map((p, i) => decodePrincipal(p, at.at("principals").at(i))),
        },
      ];
    });
  return { action, policies };
}

function all(list: RbacPredicate[]): RbacPredicate {
  return (input) => list.every((p) => p(input));
}
function some(list: RbacPredicate[]): RbacPredicate {
  return (input) => list.some((p) => p(input));
}

function decodePermission(wire: Permission, problems: Problems): RbacPredicate {
  const rule = wire.rule;
  switch (rule.case) {
    case "any":
      return () => rule.value;
    case "andRules":
      return all(rule.value.rules.map((p, i) => decodePermission(p, problems.at("and_rules").at(i))));
    case "orRules":
      return some(rule.value.rules.map((p, i) => decodePermission(p, problems.at("or_rules").at(i))));
    case "notRule": {
      const inner = decodePermission(rule.value, problems.at("not_rule"));
      return (input) => !inner(input);
    }
    case "header": {
      const header = decodeHeader(rule.value, problems.at("header"));
      return (input) => input.head !== null && header.matches(input.head);
    }
    case "urlPath":
      return decodePath(rule.value, problems.at("url_path"));
    case "uriTemplate":
      return decodeTemplate(rule.value.typedConfig?.value, problems.at("uri_template"));
    case "destinationIp": {
      const range = decodeCidr(rule.value, problems.at("destination_ip"));
      return (input) => range.contains(input.connection.destinationAddress);
    }
    case "destinationPort":
      return (input) => input.connection.destinationPort === rule.value;
    case "destinationPortRange":
      return (input) =>
        input.connection.destinationPort >= rule.value.start &&
        input.connection.destinationPort < rule.value.end;
    case "requestedServerName": {
      const name = decodeString(rule.value, problems.at("requested_server_name"));
      return (input) => name.matches(input.connection.serverName);
    }
    case "metadata":
    case "sourcedMetadata": {
      // Dynamic metadata is written by filters this proxy refuses (jwt_authn, ext_authz): none is there to match.
      problems
        .at("metadata")
        .warn("no filter of this proxy writes dynamic metadata: the condition sees none");
      const invert = rule.case === "metadata" && rule.value.invert;
      return () => invert;
    }
    default:
      problems.error(`permission ${rule.case ?? "(none)"} is not supported`);
      return never;
  }
}

function decodePrincipal(wire: Principal, problems: Problems): RbacPredicate {
  const id = wire.identifier;
  switch (id.case) {
    case "any":
      return () => id.value;
    case "andIds":
      return all(id.value.ids.map((p, i) => decodePrincipal(p, problems.at("and_ids").at(i))));
    case "orIds":
      return some(id.value.ids.map((p, i) => decodePrincipal(p, problems.at("or_ids").at(i))));
    case "notId": {
      const inner = decodePrincipal(id.value, problems.at("not_id"));
      return (input) => !inner(input);
    }
    case "authenticated": {
      if (id.value.principalName === undefined) return (input) => input.connection.peerIdentities.length > 0;
      const name = decodeString(id.value.principalName, problems.at("principal_name"));
      return (input) => input.connection.peerIdentities.some((identity) => name.matches(identity));
    }
    case "sourceIp":
    case "directRemoteIp": {
      const range = decodeCidr(id.value, problems.at(id.case));
      return (input) => range.contains(input.connection.sourceAddress);
    }
    case "remoteIp": {
      const range = decodeCidr(id.value, problems.at("remote_ip"));
      return (input) => range.contains(input.remoteAddress);
    }
    case "header": {
      const header = decodeHeader(id.value, problems.at("header"));
      return (input) => input.head !== null && header.matches(input.head);
    }
    case "urlPath":
      return decodePath(id.value, problems.at("url_path"));
    case "metadata":
    case "sourcedMetadata": {
      problems
        .at("metadata")
        .warn("no filter of this proxy writes dynamic metadata: the condition sees none");
      const invert = id.case === "metadata" && id.value.invert;
      return () => invert;
    }
    case "filterState":
      // istiod's filter-state form of a principal carries "io.istio.peer_principal".
      if (id.value.key === "io.istio.peer_principal" && id.value.matcher.case === "stringMatch") {
        const name = decodeString(id.value.matcher.value, problems.at("filter_state"));
        return (input) => input.connection.peerIdentities.some((identity) => name.matches(identity));
      }
      problems.error(`filter_state ${id.value.key} is not supported`);
      return never;
    default:
      problems.error(`principal ${id.case ?? "(none)"} is not supported`);
      return never;
  }
}

function decodePath(wire: PathMatcher, problems: Problems): RbacPredicate {
  const matcher = decodeString(wire.rule.case === "path" ? wire.rule.value : undefined, problems);
  return (input) => input.head !== null && matcher.matches(pathOf(input.head.path));
}

function pathOf(target: string): string {
  const end = target.search(/[?#]/);
  return end < 0 ? target : target.slice(0, end);
}

/** UriTemplateMatchConfig has one field, path_template = 1 (a string). `{*}` one segment, `{**}` any number. */
function decodeTemplate(bytes: Uint8Array | undefined, problems: Problems): RbacPredicate {
  if (bytes === undefined || bytes[0] !== 0x0a) {
    problems.error("uri_template without path_template");
    return never;
  }
  // One string field: tag, varint length, text to the end.
  let start = 1;
  while (((bytes[start] ?? 0) & 0x80) !== 0) start++;
  const template = new TextDecoder().decode(bytes.subarray(start + 1));
  const wanted = template.split("/");
  const matchFrom = (i: number, parts: readonly string[], j: number): boolean => {
    if (i === wanted.length) return j === parts.length;
    const segment = wanted[i] ?? "";
    if (segment.startsWith("{**") || segment === "**" || /^\{\w+=\*\*\}$/.test(segment)) {
      for (let k = j; k <= parts.length; k++) if (matchFrom(i + 1, parts, k)) return true;
      return false;
    }
    if (j >= parts.length) return false;
    const one = segment === "*" || segment === "{*}" || /^\{\w+(=\*)?\}$/.test(segment);
    return (one ? parts[j] !== "" : parts[j] === segment) && matchFrom(i + 1, parts, j + 1);
  };
  return (input) => input.head !== null && matchFrom(0, pathOf(input.head.path).split("/"), 0);
}
