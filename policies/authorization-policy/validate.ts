/** Values that are allowed and can never match: a DENY on them denies nothing, and an ALLOW lets nobody in. */

import type { Loaded } from "../load.ts";
import type { Path } from "../schema.ts";
import { servicePortFault, validateSelecting, workloadsOf } from "../selecting.ts";
import { objectsOf, type World } from "../world.ts";
import type { Say, WorldCheck } from "../world-check.ts";
import { isTemplate } from "./values.ts";
import { whenSubject } from "./when.ts";

type Policy = Loaded<"security.istio.io/AuthorizationPolicy">;
/** Why no request and no caller can have this value; null = it may be. */
type Why = (value: string, world: World, policy: Policy) => string | null;

export const validateAuthorizationPolicies: WorldCheck = (world, say) => {
  for (const p of objectsOf(world, "security.istio.io/AuthorizationPolicy")) {
    validateSelecting(world, say, p);
    for (const [i, rule] of (p.spec.rules ?? []).entries()) {
      const at: Path = ["spec", "rules", i];
      for (const [j, { source }] of (rule.from ?? []).entries())
        validateFields(world, say, p, [...at, "from", j, "source"], source, SOURCE);
      for (const [j, { operation }] of (rule.to ?? []).entries())
        validateFields(world, say, p, [...at, "to", j, "operation"], operation, OPERATION);
      if (rule.when?.length === 0) sayEmpty(say, p, [...at, "when"]);
      for (const [j, w] of (rule.when ?? []).entries()) {
        const why = WHEN[whenSubject(w.key)?.kind ?? ""];
        validateFields(
          world,
          say,
          p,
          [...at, "when", j],
          { values: w.values, notValues: w.notValues },
          {
            values: why,
            notValues: why,
          },
        );
      }
    }
  }
};

function sayEmpty(say: Say, p: Policy, path: Path): void {
  say("warning", "empty-list", p, path, "an empty list is no condition: name a value, or take it out");
}

function validateFields(
  world: World,
  say: Say,
  p: Policy,
  at: Path,
  fields: Readonly<Record<string, readonly string[] | undefined>>,
  whys: Readonly<Record<string, Why | undefined>>,
): void {
  for (const [field, values] of Object.entries(fields)) {
    const others = Object.values(fields).some((v) => v !== values && (v?.length ?? 0) > 0);
    if (values?.length === 0 && others) sayEmpty(say, p, [...at, field]);
    const why = whys[field.replace(/^not(.)/, (_, first: string) => first.toLowerCase())];
    for (const [i, value] of (values ?? []).entries()) {
      const reason = starFault(value, field) ?? why?.(value, world, p) ?? null;
      if (reason !== null) say("warning", "never-matches", p, [...at, field, i], `"${value}" ${reason}`);
    }
  }
}

/** "*" is a pattern at one end only; namespaces take it anywhere. */
function starFault(value: string, field: string): string | null {
  if (/namespaces$/i.test(field) || isTemplate(value) || value === "*") return null;
  const inner = value.startsWith("*") ? value.slice(1) : value.endsWith("*") ? value.slice(0, -1) : value;
  return inner.includes("*")
    ? 'matches the text as it stands: "*" is a pattern only at the beginning or the end of a value'
    : null;
}

const principal: Why = (value, world) => {
  if (value.startsWith("spiffe://"))
    return `matches nobody: principals stand without spiffe://, say "${value.slice("spiffe://".length)}"`;
  if (value.includes("*")) return null;
  const [, trustDomain, namespace, account] = /^([^/]+)\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(value) ?? [];
  if (trustDomain === undefined) return "matches nobody: a principal is TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT";
  const own = world.mesh.trustDomain;
  if (trustDomain !== own && trustDomain !== "cluster.local")
    return `matches nobody in this mesh, whose trust domain is ${own}`;
  return accountFault(world, namespace!, account!);
};

function accountFault(world: World, namespace: string, account: string): string | null {
  if (world.workloads.length === 0) return null; // only policies were given
  const known =
    world.workloads.some((w) => w.namespace === namespace && w.serviceAccount === account) ||
    objectsOf(world, "/ServiceAccount").some((a) => a.namespace === namespace && a.name === account);
  return known ? null : `matches nobody now: no workload of namespace ${namespace} runs as ${account}`;
}

const namespace: Why = (value, world) => {
  if (value.includes("*") || world.workloads.length === 0) return null;
  const known =
    world.workloads.some((w) => w.namespace === value) ||
    objectsOf(world, "/Namespace").some((n) => n.name === value);
  return known ? null : "matches nobody now: there is no such namespace";
};

const serviceAccount: Why = (value, world, policy) => {
  const [account = "", owner = policy.namespace] = value.split("/").reverse();
  return accountFault(world, owner, account);
};

const trustDomain: Why = (value, world) =>
  value.includes("*") || value === world.mesh.trustDomain
    ? null
    : `matches nobody in this mesh, whose trust domain is ${world.mesh.trustDomain}`;

const method: Why = (value) => {
  if (/[a-z]/.test(value))
    return `matches no usual request: methods are compared with their case, say "${value.toUpperCase()}"`;
  return /^\*?[-!#$%&'+.^_`|~0-9A-Za-z]*\*?$/.test(value) ? null : "is no method";
};

/** RFC 3986 2.3, percent-encoded for no reason. */
const UNRESERVED = /%(?:2[de]|3\d|4[1-9a-f]|5[\daf]|6[1-9a-f]|7[\dae])/i;
const path: Why = (value) => {
  if (isTemplate(value)) return null;
  if (!value.startsWith("/") && !value.startsWith("*")) return 'matches no request: a path begins with "/"';
  if (/[^\x21-\x7e]/.test(value)) return "matches no request: paths are compared as they arrive, with %XX";
  if (value.includes("\\")) return 'matches no request: "\\" in a path is compared as "/"';
  if (UNRESERVED.test(value))
    return `matches no request: paths are compared after ${UNRESERVED.exec(value)![0]} is resolved`;
  if (/[?#]/.test(value)) return "matches no request: a path is compared without query and fragment";
  return /\/\.\.?(\/|$)/.test(value)
    ? "matches no request: paths are compared after their dot segments are resolved"
    : null;
};

const host: Why = (value) => {
  if (/[^\x21-\x7e]/.test(value)) return "matches no request: a name with other letters arrives as xn--...";
  if (/[/@?#]/.test(value)) return "matches no request: a host stands without scheme, user and path";
  return /:\d+$/.test(value) && !value.endsWith("]")
    ? "matches only requests that say this port in their Host: name the host without it, too"
    : null;
};

const port: Why = (value, world, policy) => {
  const service = servicePortFault(world, workloadsOf(world, policy), Number(value));
  return service === null ? null : `${service}: rules are about the port of the workload`;
};

const SOURCE: Readonly<Record<string, Why>> = {
  principals: principal,
  namespaces: namespace,
  serviceAccounts: serviceAccount,
  trustDomains: trustDomain,
};
const OPERATION: Readonly<Record<string, Why>> = {
  methods: method,
  paths: path,
  hosts: host,
  ports: port,
};
const WHEN: Readonly<Record<string, Why>> = {
  principal,
  namespace,
  "service-account": serviceAccount,
  "trust-domain": trustDomain,
  "destination-port": port,
};
