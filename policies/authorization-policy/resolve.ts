import {
  type AuthorizationIr,
  type AuthzCondition,
  type AuthzPattern,
  type AuthzPolicyIr,
  HTTP_SUBJECTS,
} from "#ir/authz.ts";
import { isDryRun } from "../annotations.ts";
import type { Loaded } from "../load.ts";
import { objectsOf, type PolicyWorld, selects, type Workload } from "../world.ts";
import { isTemplate } from "./values.ts";
import { whenSubject } from "./when.ts";

type Policy = Loaded<"security.istio.io/AuthorizationPolicy">;
type Subject = AuthzCondition["subject"];
type Mesh = PolicyWorld["mesh"];

function pattern(kind: Subject["kind"], value: string): AuthzPattern {
  if (value === "*") return { kind: "present" };
  if (kind === "path" && isTemplate(value)) return { kind: "template", value };
  if (value.startsWith("*")) return { kind: "suffix", value: value.slice(1) };
  if (value.endsWith("*")) return { kind: "prefix", value: value.slice(0, -1) };
  return { kind: "exact", value };
}

/** Istio's name for whatever trust domain the mesh has, in policies that are written for every mesh. */
const ALIAS = "cluster.local/";

/** What the policy's namespace and the mesh's trust domain add to a value. */
function completed(kind: Subject["kind"], value: string, namespace: string, trustDomain: string): string {
  if (kind === "service-account" && !value.includes("/")) return `${namespace}/${value}`;
  if (kind === "principal" && value.startsWith(ALIAS)) return `${trustDomain}/${value.slice(ALIAS.length)}`;
  return value;
}

type Values = readonly string[] | undefined;

function condition(subject: Subject, yes: Values, no: Values, namespace: string, mesh: Mesh): AuthzCondition {
  const patterns = (list: Values) =>
    (list ?? []).map((v) => pattern(subject.kind, completed(subject.kind, v, namespace, mesh.trustDomain)));
  return { subject, values: patterns(yes), notValues: patterns(no) };
}

function conditions(
  list: readonly (readonly [Subject["kind"], Values, Values])[],
  namespace: string,
  mesh: Mesh,
): AuthzCondition[] {
  return list
    .filter(([, yes, no]) => (yes?.length ?? 0) + (no?.length ?? 0) > 0)
    .map(([kind, yes, no]) => condition({ kind } as Subject, yes, no, namespace, mesh));
}

function toIr(p: Policy, mesh: Mesh): AuthzPolicyIr {
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
        mesh,
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
        mesh,
      ),
    );
    const when = (rule.when ?? []).flatMap((w): AuthzCondition[] => {
      const subject = whenSubject(w.key);
      if (subject === null) return [];
      return [condition(subject, w.values, w.notValues, p.namespace, mesh)];
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
    dryRun: isDryRun(p.annotations),
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
  const of = (action: string) =>
    mine.filter((p) => (p.spec.action ?? "ALLOW") === action).map((p) => toIr(p, world.mesh));
  return { audit: of("AUDIT"), deny: of("DENY"), allow: of("ALLOW") };
}
