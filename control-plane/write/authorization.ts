import type { AuthorizationIr, AuthzCondition, AuthzPattern, AuthzPolicyIr, AuthzRuleIr } from "#ir/index.ts";
import { HTTP_SUBJECTS } from "#ir/index.ts";
import { RBACSchema as HttpRbacSchema } from "#xds/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import { RBACSchema as NetworkRbacSchema } from "#xds/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js";
import { extension, type Json } from "./resource.ts";

const PERMISSIONS = new Set(["destination-ip", "destination-port", "sni", "host", "method", "path"]);

/** The RBAC filters of an inbound chain in Istio's order: audit, deny, allow. */
export function rbacFilters(authorization: AuthorizationIr, http: boolean): Json[] {
  const sets = [
    ["LOG", authorization.audit],
    ["DENY", authorization.deny],
    ["ALLOW", authorization.allow],
  ] as const;
  return sets.flatMap(([action, policies]) => filter(action, policies, http));
}

function filter(action: "LOG" | "DENY" | "ALLOW", policies: readonly AuthzPolicyIr[], http: boolean): Json[] {
  if (policies.length === 0) return [];
  const enforced = policies.filter((p) => !p.dryRun);
  const shadow = policies.filter((p) => p.dryRun);
  const rules = (list: readonly AuthzPolicyIr[]): Json => ({
    action,
    policies: Object.assign({}, ...list.map((p) => writePolicy(p, action, http))),
  });
  const config: Json = {
    ...(enforced.length === 0 ? {} : { rules: rules(enforced) }),
    ...(shadow.length === 0 ? {} : { shadow_rules: rules(shadow) }),
    shadow_rules_stat_prefix: action === "DENY" ? "istio_dry_run_deny_" : "istio_dry_run_allow_",
  };
  return http
    ? [extension("envoy.filters.http.rbac", HttpRbacSchema, config)]
    : [extension("envoy.filters.network.rbac", NetworkRbacSchema, { stat_prefix: "tcp.", ...config })];
}

function writePolicy(policy: AuthzPolicyIr, action: string, http: boolean): Json {
  const name = (index: number) => `ns[${policy.namespace}]-policy[${policy.name}]-rule[${index}]`;
  const written: Json = {};
  for (const rule of policy.rules) {
    // On TCP an ALLOW that asks for HTTP facts can never hold; a DENY keeps what can be judged (denies more).
    if (!http && rule.needsHttp && action === "ALLOW") continue;
    written[name(rule.index)] = writeRule(rule, http);
  }
  if (Object.keys(written).length === 0 && (action === "ALLOW" || policy.rules.length === 0)) {
    written[name(0)] = {
      permissions: [{ not_rule: { any: true } }],
      principals: [{ not_id: { any: true } }],
    };
  }
  return written;
}

function writeRule(rule: AuthzRuleIr, http: boolean): Json {
  const usable = (c: AuthzCondition) => http || !HTTP_SUBJECTS.has(c.subject.kind);
  const when = rule.when.filter(usable);
  const isPermission = (c: AuthzCondition) => PERMISSIONS.has(c.subject.kind);
  const whenRules = when.filter(isPermission).flatMap((c) => condition(c, PERMISSION));
  const whenIds = when.filter((c) => !isPermission(c)).flatMap((c) => condition(c, PRINCIPAL));
  const entries = (list: AuthzRuleIr["from"]) =>
    list.length === 0 ? [[]] : list.map((e) => e.filter(usable));
  return {
    permissions: entries(rule.to).map((to): Json => {
      const rules = [...to.flatMap((c) => condition(c, PERMISSION)), ...whenRules];
      return rules.length === 0 ? { any: true } : { and_rules: { rules } };
    }),
    principals: entries(rule.from).map((from): Json => {
      const ids = [...from.flatMap((c) => condition(c, PRINCIPAL)), ...whenIds];
      return ids.length === 0 ? { any: true } : { and_ids: { ids } };
    }),
  };
}

const PERMISSION = {
  one: permission,
  or: (rules: Json[]): Json => ({ or_rules: { rules } }),
  not: (rule: Json): Json => ({ not_rule: rule }),
};
const PRINCIPAL = {
  one: principal,
  or: (ids: Json[]): Json => ({ or_ids: { ids } }),
  not: (id: Json): Json => ({ not_id: id }),
};

function condition(c: AuthzCondition, to: typeof PERMISSION): Json[] {
  const any = (values: readonly AuthzPattern[]) => to.or(values.map((v) => to.one(c.subject, v)));
  return [
    ...(c.values.length === 0 ? [] : [any(c.values)]),
    ...(c.notValues.length === 0 ? [] : [to.not(any(c.notValues))]),
  ];
}

function matcher(p: AuthzPattern, before = ""): Json {
  if (p.kind === "present") return { safe_regex: { regex: ".+" } };
  if (p.kind === "suffix") return { suffix: p.value };
  if (p.kind === "template") throw new Error(`a path template cannot match here: ${p.value}`);
  return { [p.kind]: `${before}${p.value}` };
}

function cidr(p: AuthzPattern): Json {
  const value = p.kind === "present" ? "0.0.0.0/0" : p.value;
  const [address, length] = value.split("/");
  return {
    address_prefix: address as string,
    prefix_len: Number(length ?? (value.includes(":") ? 128 : 32)),
  };
}

function quote(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

function permission(subject: AuthzCondition["subject"], p: AuthzPattern): Json {
  switch (subject.kind) {
    case "destination-ip":
      return { destination_ip: cidr(p) };
    case "destination-port":
      return { destination_port: Number(p.kind === "present" ? 0 : p.value) };
    case "sni":
      return { requested_server_name: matcher(p) };
    case "host":
      return {
        header: {
          name: ":authority",
          string_match: { ...matcher(p), ...(p.kind === "present" ? {} : { ignore_case: true }) },
        },
      };
    case "method":
      return p.kind === "present"
        ? { header: { name: ":method", present_match: true } }
        : { header: { name: ":method", string_match: matcher(p) } };
    case "path":
      return p.kind === "template"
        ? {
            uri_template: {
              name: "uri-template",
              typed_config: {
                "@type":
                  "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
                path_template: p.value.replaceAll("{*}", "*").replaceAll("{**}", "**"),
              },
            },
          }
        : { url_path: { path: matcher(p) } };
    default:
      throw new Error(`${subject.kind} is not a permission`);
  }
}

function principal(subject: AuthzCondition["subject"], p: AuthzPattern): Json {
  const identity = (name: Json): Json => ({ authenticated: { principal_name: name } });
  const value = p.kind === "present" ? "" : p.value;
  switch (subject.kind) {
    case "principal":
      return identity(matcher(p, "spiffe://"));
    case "trust-domain":
      return p.kind === "exact"
        ? identity({ prefix: `spiffe://${value}/` })
        : identity({ safe_regex: { regex: `spiffe://${wild(p)}/.*` } });
    case "namespace":
      return identity({ safe_regex: { regex: `.*/ns/${wild(p)}/.*` } });
    case "service-account": {
      const [namespace, account] = value.split("/");
      return identity({
        safe_regex: { regex: `.*/ns/${quote(namespace ?? "")}/sa/${quote(account ?? "")}` },
      });
    }
    case "source-ip":
      return { direct_remote_ip: cidr(p) };
    case "remote-ip":
      return { remote_ip: cidr(p) };
    case "header":
      return p.kind === "present"
        ? { header: { name: subject.name, present_match: true } }
        : { header: { name: subject.name, string_match: matcher(p) } };
    default:
      // Request authentication is not carried yet: policies refuses it by name, and nothing may pass by accident.
      throw new Error(
        `authorization by ${subject.kind} needs RequestAuthentication, which is not supported yet`,
      );
  }
}

/** Of one segment of an identity; "*" stands for any text wherever it is, as in Istio. */
function wild(p: AuthzPattern): string {
  if (p.kind === "present") return "[^/]+";
  const text = p.value.split("*").map(quote).join("[^/]*");
  return p.kind === "prefix" ? `${text}[^/]*` : p.kind === "suffix" ? `[^/]*${text}` : text;
}
