import {
  type AuthorizationIr,
  type AuthzCondition,
  type AuthzPattern,
  type AuthzPolicyIr,
  HTTP_SUBJECTS,
} from "#ir/authz.ts";
import type { Loaded } from "../load.ts";
import { objectsOf, type PolicyWorld, selects, type Workload } from "../world.ts";
import { whenSubject } from "./when.ts";

type Policy = Loaded<"security.istio.io/AuthorizationPolicy">;
type Subject = AuthzCondition["subject"];

function pattern(value: string): AuthzPattern {
  if (value === "*") return { kind: "present" };
  if (value.includes("{*}") || value.includes("{**}")) return { kind: "template", value };
  if (value.startsWith("*")) return { kind: "suffix", value: value.slice(1) };
  if (value.endsWith("*")) return { kind: "prefix", value: value.slice(0, -1) };
  return { kind: "exact", value };
}

function conditions(
  list: readonly (readonly [Subject["kind"], readonly string[] | undefined, readonly string[] | undefined])[],
  namespace: string,
): AuthzCondition[] {
  return list
    .filter(([, yes, no]) => (yes?.length ?? 0) + (no?.length ?? 0) > 0)
    .map(([kind, yes, no]) => ({
      subject: { kind } as Subject,
      values: (yes ?? []).map((v) =>
        pattern(kind === "service-account" && !v.includes("/") ? `${namespace}/${v}` : v),
      ),
      notValues: (no ?? []).map((v) =>
        pattern(kind === "service-account" && !v.includes("/") ? `${namespace}/${v}` : v),
      ),
    }));
}

function toIr(p: Policy): AuthzPolicyIr {
  const rules = (p.spec.rules ?? []).map((rule, index) => {
    const from = (rule.from ?? []).map(({ source: s }) =>
      conditions(
        [
          ["principal", s.principals, s.notPrincipals],
          ["namespace", s.namespaces, s.notNamespaces],
          ["service-account", s.serviceAccounts, s.notServiceAccounts],
          ["trust-domain", s.trustDomains, s.notTrustDomains],
          ["source-ip", s.ipBlocks, s.notIpBlocks],
          ["remote-ip", s.remoteIpBlocks, s.notRemoteIpBlocks],
        ],
        p.namespace,
      ),
    );
    const to = (rule.to ?? []).map(({ operation: o }) =>
      conditions(
        [
          ["host", o.hosts, o.notHosts],
          ["destination-port", o.ports, o.notPorts],
          ["method", o.methods, o.notMethods],
          ["path", o.paths, o.notPaths],
        ],
        p.namespace,
      ),
    );
    const when = (rule.when ?? []).flatMap((w): AuthzCondition[] => {
      const subject = whenSubject(w.key);
      if (subject === null) return [];
      return [
        { subject, values: (w.values ?? []).map(pattern), notValues: (w.notValues ?? []).map(pattern) },
      ];
    });
    return {
      from,
      to,
      when,
      index,
      needsHttp: [...from.flat(), ...to.flat(), ...when].some((c) => HTTP_SUBJECTS.has(c.subject.kind)),
      source: { ...p.source, line: p.line(["spec", "rules", index]) },
    };
  });
  return {
    namespace: p.namespace,
    name: p.name,
    rules,
    dryRun: p.annotations["istio.io/dry-run"] === "true",
    source: p.source,
  };
}

/** Policies of the root namespace and of the workload's own, whose selector (if any) takes the workload. */
export function resolveAuthorization(world: PolicyWorld, workload: Workload): AuthorizationIr {
  const mine = objectsOf(world, "security.istio.io/AuthorizationPolicy").filter(
    (p) =>
      (p.namespace === workload.namespace || p.namespace === world.mesh.rootNamespace) &&
      selects(p.spec.selector?.matchLabels ?? {}, workload.labels),
  );
  const of = (action: string) => mine.filter((p) => (p.spec.action ?? "ALLOW") === action).map(toIr);
  return { audit: of("AUDIT"), deny: of("DENY"), allow: of("ALLOW") };
}
