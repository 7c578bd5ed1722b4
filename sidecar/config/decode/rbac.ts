import type { Any } from "@bufbuild/protobuf/wkt";
import {
  type Permission,
  type Principal,
  RBAC_Action,
  type RBAC as WireRules,
} from "#xds/gen/envoy/config/rbac/v3/rbac_pb.js";
import { UriTemplateMatchConfigSchema } from "#xds/gen/envoy/extensions/path/match/uri_template/v3/uri_template_match_pb.js";
import type { PathMatcher } from "#xds/gen/envoy/type/matcher/v3/path_pb.js";
import type { Rbac, RbacPredicate, RbacRules } from "../../filters/rbac.ts";
import { compileUriTemplate } from "../../path/uri-template.ts";
import { typeOf, unpack } from "./any.ts";
import { decodeCidr } from "./cidr.ts";
import { decodeHeader } from "./header.ts";
import type { Problems } from "./problems.ts";
import { decodeString } from "./string.ts";

const never: RbacPredicate = () => false;

/** What stands in the place of a filter that this proxy does not know and that may guard something: nobody passes. */
export const DENY_ALL: Rbac = {
  rules: { action: "ALLOW", policies: [] },
};

/** What cannot be read matches nothing and is an error, so that the resource is refused. */
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
      return decodeTemplate(rule.value.typedConfig, problems.at("uri_template"));
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

function decodeTemplate(config: Any | undefined, problems: Problems): RbacPredicate {
  const wire = unpack(config, UriTemplateMatchConfigSchema, problems);
  if (wire === undefined) {
    problems.error(`${typeOf(config) || "no configuration"} is not supported`);
    return never;
  }
  const matches = compileUriTemplate(wire.pathTemplate);
  if (typeof matches !== "string") return (input) => input.head !== null && matches(pathOf(input.head.path));
  problems.at("path_template").error(`${JSON.stringify(wire.pathTemplate)}: ${matches}`);
  return never;
}
