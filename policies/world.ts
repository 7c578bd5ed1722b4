import type { EndpointIr, Protocol } from "#ir/cluster.ts";
import type { SourceRef } from "#ir/source.ts";
import type { InterceptionIr } from "#ir/workload.ts";
import { Memo } from "#lib/memo.ts";
import type { KindKey } from "./kinds.ts";
import { isKind, type Loaded } from "./load.ts";

/** What the platform and the mesh config say, beside the objects. */
export interface MeshSettings {
  readonly trustDomain: string;
  readonly rootNamespace: string;
  readonly outboundMode: "ALLOW_ANY" | "REGISTRY_ONLY";
  readonly clusterDomain: string;
}
export const DEFAULT_MESH: MeshSettings = {
  trustDomain: "cluster.local",
  rootNamespace: "istio-system",
  outboundMode: "ALLOW_ANY",
  clusterDomain: "cluster.local",
};

export interface ServicePort {
  readonly name: string;
  readonly number: number;
  /** Number or container port name; null = same as `number`. */
  readonly targetPort: number | string | null;
  readonly protocol: Protocol;
}

/** One endpoint of a headless service. */
export interface Instance {
  /** "pod-0", or the address with dashes where the pod has no name of its own: the label before the service's host. */
  readonly name: string;
  /** The name is one that clients know: pods of a StatefulSet, or with hostname and subdomain. */
  readonly named: boolean;
  readonly endpoint: EndpointIr;
}

export interface Alias {
  readonly name: string;
  readonly namespace: string;
}

/** A Kubernetes Service, or one host of a ServiceEntry. */
export interface Service {
  readonly kind: "kubernetes" | "entry";
  readonly host: string;
  readonly name: string;
  readonly namespace: string;
  /** Virtual addresses. Empty for headless services and for entries without addresses. */
  readonly addresses: readonly string[];
  readonly headless: boolean;
  readonly ports: readonly ServicePort[];
  readonly selector: Readonly<Record<string, string>> | null;
  readonly resolution: "eds" | "static" | "dns" | "dns-round-robin" | "none";
  readonly external: boolean;
  /** Namespaces whose clients see it; undefined = all. */
  readonly exportTo: readonly string[] | undefined;
  readonly sans: readonly string[];
  /** By port number: the SPIFFE ids behind it, ready or not, so that a flapping probe changes no TLS setting. */
  readonly identities: Readonly<Record<number, readonly string[]>>;
  /** By port number: endpoints that the object itself lists (resolution static and dns). */
  readonly inline: Readonly<Record<number, readonly EndpointIr[]>>;
  /** By port number, of a headless service: what can be called by itself, by name or address, ready or not. */
  readonly instances: Readonly<Record<number, readonly Instance[]>>;
  /** ExternalName Services that lead here: other names of this one. */
  readonly aliases: readonly Alias[];
  readonly source: SourceRef;
}

/** A pod with an address. */
export interface Workload {
  readonly pod: string;
  readonly name: string;
  readonly namespace: string;
  readonly ip: string;
  readonly serviceAccount: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ports: readonly { readonly name: string; readonly port: number }[];
  readonly ready: boolean;
  /** Its name in a headless service, and of which one; null = none, and any that selects it. */
  readonly hostname: string | null;
  readonly subdomain: string | null;
  readonly interception: InterceptionIr;
  readonly source: SourceRef;
}

/**
 * What policies are resolved against. It stays the same object for as long as only endpoints change, so it is the
 * cache key of everything that is made from it: who gets one of these sees no pods.
 */
export interface PolicyWorld {
  readonly mesh: MeshSettings;
  /** In order of age, then file order: the first host wins. */
  readonly services: readonly Service[];
  /** Of the kinds that resolving reads. */
  readonly objects: readonly Loaded[];
}

export interface World {
  readonly mesh: MeshSettings;
  readonly services: readonly Service[];
  readonly policy: PolicyWorld;
  /** Host -> service port -> endpoints; unready pods are in it with ready = false. */
  readonly endpoints: ReadonlyMap<string, ReadonlyMap<number, readonly EndpointIr[]>>;
  readonly workloads: readonly Workload[];
  readonly objects: readonly Loaded[];
  /** Objects that an earlier one of the same kind and name hides. */
  readonly duplicates: readonly { readonly object: Loaded; readonly first: Loaded }[];
}

const byKind = new Memo<readonly Loaded[]>();
/** All objects of one kind, in their order of precedence. */
export function objectsOf<K extends KindKey>(
  world: { objects: readonly Loaded[] },
  key: K,
): readonly Loaded<K>[] {
  return byKind.get(world.objects, key, () =>
    inOrder(
      key,
      world.objects.filter((o) => isKind(o, key)),
    ),
  ) as readonly Loaded<K>[];
}

/**
 * Oldest first. Among equals the name decides, not the file: Istio compares "name.namespace"
 * (sortConfigByCreationTime), the Gateway API "namespace/name". The core kinds stay as they were given.
 */
function inOrder(key: KindKey, objects: readonly Loaded[]): readonly Loaded[] {
  const core = !key.includes(".istio.io/") && !key.startsWith("gateway.");
  const named = ({ namespace, name }: Loaded): string =>
    key.startsWith("gateway.") ? `${namespace}/${name}` : `${name}.${namespace}`;
  return objects
    .map((object) => ({ object, age: ageOf(object.created), name: core ? "" : named(object) }))
    .sort((a, b) => a.age - b.age || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    .map(({ object }) => object);
}

/** Milliseconds since 1970; an unknown time counts as the oldest. */
function ageOf(created: string): number {
  return created === "" ? 0 : Date.parse(created) || 0;
}

/** matchLabels: every label of the selector is there with its value; an empty selector selects all. */
export function selects(
  selector: Readonly<Record<string, string>>,
  labels: Readonly<Record<string, string>>,
): boolean {
  for (const key in selector) if (labels[key] !== selector[key]) return false;
  return true;
}

const PREFIXES: ReadonlyMap<string, Protocol> = new Map([
  ["http", "http"],
  ["kubernetes.io/ws", "http"],
  ["http2", "http2"],
  ["kubernetes.io/h2c", "http2"],
  ["grpc", "grpc"],
  ["grpc-web", "grpc"],
  ["tcp", "tcp"],
  ["mongo", "tcp"],
  ["mysql", "tcp"],
  ["redis", "tcp"],
  ["tls", "tls"],
  ["https", "tls"],
  ["kubernetes.io/wss", "tls"],
]);

/**
 * Ports of protocols whose server speaks first, so that nothing would ever be seen of them: SMTP, DNS, MySQL, MongoDB.
 * istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection ("Server First Protocols").
 */
const SERVER_FIRST_PORTS: ReadonlySet<number> = new Set([25, 53, 3306, 27017]);

/** Istio's protocol selection: appProtocol, else the part of the port name before "-", else a well-known number. */
export function protocolOf(
  portName: string | undefined,
  appProtocol: string | undefined,
  port: number,
): Protocol {
  const name = (appProtocol ?? portName ?? "").toLowerCase();
  return (
    PREFIXES.get(name) ??
    PREFIXES.get(name.startsWith("grpc-web") ? "grpc-web" : (name.split("-")[0] ?? "")) ??
    (SERVER_FIRST_PORTS.has(port) ? "tcp" : "auto")
  );
}

/** spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT, as Istio writes it. */
export function spiffeId(mesh: MeshSettings, namespace: string, account: string): string {
  return `spiffe://${mesh.trustDomain}/ns/${namespace}/sa/${account}`;
}

/** The container port that a service port leads to on this pod; null if a named port is missing there. */
export function targetPortOf(port: ServicePort, workload: Pick<Workload, "ports">): number | null {
  if (typeof port.targetPort === "string")
    return workload.ports.find((p) => p.name === port.targetPort)?.port ?? null;
  return port.targetPort ?? port.number;
}

/** exportTo: "." = its own namespace, "*" = all, "~" = none; absent = all. */
export function isExported(to: readonly string[] | undefined, owner: string, namespace: string): boolean {
  if (to === undefined || to.length === 0) return true;
  return to.some((t) => t === "*" || t === namespace || (t === "." && owner === namespace));
}

interface Exported {
  readonly namespace: string;
  readonly spec: { readonly exportTo?: readonly string[] | undefined };
}

/** Some namespace sees both. */
export function seenTogether(a: Exported, b: Exported): boolean {
  const namespaces = ({ namespace, spec: { exportTo: to = [] } }: Exported): ReadonlySet<string> | null =>
    to.length === 0 || to.includes("*") ? null : new Set(to.map((t) => (t === "." ? namespace : t)));
  const [x, y] = [namespaces(a), namespaces(b)];
  return x === null || y === null || [...x].some((ns) => y.has(ns));
}
