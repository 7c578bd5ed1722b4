/** Kinds as people type them: kubectl's and istioctl's short names, plurals, groups. */
import { nearest } from "#lib/nearest.ts";
import { KINDS } from "#policies/index.ts";
import { UserError } from "./errors.ts";

/** kubectl's and istioctl's short names. */
export const SHORT_NAMES: Readonly<Record<string, string>> = {
  po: "Pod",
  svc: "Service",
  deploy: "Deployment",
  rs: "ReplicaSet",
  sts: "StatefulSet",
  ds: "DaemonSet",
  cj: "CronJob",
  hpa: "HorizontalPodAutoscaler",
  cm: "ConfigMap",
  pvc: "PersistentVolumeClaim",
  sa: "ServiceAccount",
  ns: "Namespace",
  vs: "VirtualService",
  dr: "DestinationRule",
  gw: "Gateway",
  gtw: "Gateway",
  gc: "GatewayClass",
  refgrant: "ReferenceGrant",
  se: "ServiceEntry",
  ap: "AuthorizationPolicy",
  pa: "PeerAuthentication",
};

/** "VirtualService" ..., sorted. */
export const KIND_NAMES: readonly string[] = [
  ...new Set(Object.keys(KINDS).map((key) => key.slice(key.lastIndexOf("/") + 1))),
].sort();

/** What runs, and what leads to it: kubectl's category, in its order. */
const ALL = [
  "Pod",
  "Service",
  "DaemonSet",
  "Deployment",
  "ReplicaSet",
  "StatefulSet",
  "HorizontalPodAutoscaler",
  "CronJob",
  "Job",
];

/** `vs`, `virtualservices`, `virtualservice` -> VirtualService. What is not known stays as it was typed. */
export function kindOf(typed: string): string {
  const lower = typed.toLowerCase();
  const short = SHORT_NAMES[lower];
  if (short !== undefined) return short;
  return KIND_NAMES.find((kind) => lower === kind.toLowerCase() || lower === plural(kind)) ?? typed;
}

/** kubectl's resource name: `virtualservices`, `networkpolicies`, `gatewayclasses`. */
export function plural(kind: string): string {
  const lower = kind.toLowerCase();
  if (/(s|x|ch|sh)$/.test(lower)) return `${lower}es`;
  return /[^aeiou]y$/.test(lower) ? `${lower.slice(0, -1)}ies` : `${lower}s`;
}

/** A kind of the mesh; `group` is null where the person named none. */
export interface Kind {
  readonly kind: string;
  readonly group: string | null;
}

/** `po`, `Pod`, `deployments.apps`, `gateways.v1.gateway.networking.k8s.io`. Unknown: a UserError that says what may be meant. */
export function knownKind(typed: string): Kind {
  const [name = "", ...rest] = typed.split(".");
  const kind = kindOf(name);
  const [version = ""] = rest;
  const group = (/^v\d+((alpha|beta)\d+)?$/.test(version) ? rest.slice(1) : rest).join(".");
  const known = (g: string): boolean => Object.hasOwn(KINDS, `${g}/${kind}`);
  if (KIND_NAMES.includes(kind) && (rest.length === 0 || known(group)))
    return { kind, group: rest.length === 0 ? (name.toLowerCase() === "gtw" ? GATEWAY_API : null) : group };
  const words = [
    ...KIND_NAMES.flatMap((k) => [k.toLowerCase(), plural(k)]),
    ...Object.keys(SHORT_NAMES),
    "all",
  ];
  const meant = nearest(name.toLowerCase(), words);
  const hint = meant === null ? `known are ${KIND_NAMES.join(", ")}` : `did you mean "${meant}"?`;
  throw new UserError(`there is no kind "${typed}"; ${hint}`);
}

const GATEWAY_API = "gateway.networking.k8s.io";

/** `po,svc`, `all`: several kinds at once. */
function knownKinds(typed: string): Kind[] {
  const found = new Map<string, Kind>();
  for (const one of typed.split(",").filter(Boolean))
    for (const kind of one.toLowerCase() === "all"
      ? ALL.map((k) => ({ kind: k, group: null }))
      : [knownKind(one)])
      found.set(`${kind.group}/${kind.kind}`, kind);
  return [...found.values()];
}

/** What a person named: a whole kind, or one object of it. */
export interface Wanted extends Kind {
  readonly name: string | null;
}

/** kubectl's ways to name things: `KIND`, `KIND,KIND`, `KIND NAME...`, `KIND/NAME...`. */
export function wantedObjects(words: readonly string[]): Wanted[] {
  const [first = "", ...names] = words;
  if (first.includes("/"))
    return words.map((word) => {
      const [kind = "", name = "", ...more] = word.split("/");
      if (name === "" || kind === "" || more.length > 0)
        throw new UserError(`${word}: write KIND/NAME, every one of them, or KIND NAME...`);
      return { ...knownKind(kind), name };
    });
  const mixed = names.find((name) => name.includes("/"));
  if (mixed !== undefined)
    throw new UserError(`${mixed}: write KIND/NAME, every one of them, or KIND NAME...`);
  const kinds = knownKinds(first);
  if (names.length === 0) return kinds.map((kind) => ({ ...kind, name: null }));
  return kinds.flatMap((kind) => names.map((name) => ({ ...kind, name })));
}

/** `Deployment` -> `deployment.apps`, as `kubectl get -o name` writes it before the slash. */
export function resourceName(kind: string, apiVersion: string): string {
  const group = apiVersion.includes("/") ? apiVersion.slice(0, apiVersion.indexOf("/")) : "";
  return group === "" ? kind.toLowerCase() : `${kind.toLowerCase()}.${group}`;
}

/** `Deployment web` -> `deployments.apps "web" not found`. */
export function notFound({ kind, group, name }: Wanted, namespace: string | null): string {
  const key = Object.keys(KINDS).find(
    (k) => k.endsWith(`/${kind}`) && (group === null || k === `${group}/${kind}`),
  );
  const of = key === undefined || key.startsWith("/") ? "" : `.${key.slice(0, key.indexOf("/"))}`;
  return `${plural(kind)}${of} "${name}" not found${namespace === null ? "" : ` in namespace ${namespace}`}`;
}
