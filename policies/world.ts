import type { EndpointIr, Protocol } from "#ir/cluster.ts";
import type { SourceRef } from "#ir/source.ts";
import type { InterceptionIr } from "#ir/workload.ts";
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
  readonly sans: readonly string[];
  /** By service port number; unready pods are in it with ready = false. */
  readonly endpoints: ReadonlyMap<number, readonly EndpointIr[]>;
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
  readonly interception: InterceptionIr;
  readonly source: SourceRef;
}

export interface World {
  readonly mesh: MeshSettings;
  /** In order of age, then file order: the first host wins. */
  readonly services: readonly Service[];
  readonly workloads: readonly Workload[];
  readonly objects: readonly Loaded[];
}

/** All objects of one kind, oldest first (file order breaks ties): Istio's order of precedence. */
export function objectsOf<K extends KindKey>(
  world: { objects: readonly Loaded[] },
  key: K,
): readonly Loaded<K>[] {
  const found = world.objects.filter((o): o is Loaded<K> => isKind(o, key));
  return found.sort((a, b) => (a.created < b.created ? -1 : a.created > b.created ? 1 : 0));
}

export function selects(
  selector: Readonly<Record<string, string>>,
  labels: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(selector).every(([k, v]) => labels[k] === v);
}

const PREFIXES: Readonly<Record<string, Protocol>> = {
  http: "http",
  "kubernetes.io/ws": "http",
  http2: "http2",
  "kubernetes.io/h2c": "http2",
  grpc: "grpc",
  "grpc-web": "grpc",
  tcp: "tcp",
  mongo: "tcp",
  mysql: "tcp",
  redis: "tcp",
  tls: "tls",
  https: "tls",
};

/** Istio's protocol selection: appProtocol, else the part of the port name before "-". */
export function protocolOf(portName: string | undefined, appProtocol: string | undefined): Protocol {
  const name = (appProtocol ?? portName ?? "").toLowerCase();
  return (
    PREFIXES[name] ??
    PREFIXES[name.startsWith("grpc-web") ? "grpc-web" : (name.split("-")[0] ?? "")] ??
    "auto"
  );
}

export function spiffeId(mesh: MeshSettings, namespace: string, account: string): string {
  return `spiffe://${mesh.trustDomain}/ns/${namespace}/sa/${account}`;
}

/** Objects -> World. Pure; the objects have been validated one by one by `load`. */
export function buildWorld(objects: readonly Loaded[], mesh: MeshSettings = DEFAULT_MESH): World {
  const all = { objects };
  const workloads = objectsOf(all, "/Pod").flatMap((pod): Workload[] => workloadOf(pod));
  const vips = new Map(
    objectsOf(all, "networking.k8s.io/IPAddress").map((ip) => [
      `${ip.spec.parentRef.namespace ?? "default"}/${ip.spec.parentRef.name}`,
      ip.name,
    ]),
  );
  const services = [
    ...objectsOf(all, "/Service").map((s) => kubernetesService(s, vips, workloads, all, mesh)),
    ...objectsOf(all, "networking.istio.io/ServiceEntry").flatMap((e) => entryServices(e, mesh)),
  ];
  return { mesh, services, workloads, objects };
}

function workloadOf(pod: Loaded<"/Pod">): Workload[] {
  const ip = pod.status?.podIP;
  if (ip === undefined || ip === "") return [];
  const owner = (pod.raw["metadata"] as { ownerReferences?: { kind?: string; name?: string }[] })
    .ownerReferences?.[0];
  const ownerName = owner?.kind === "ReplicaSet" ? owner.name?.replace(/-[^-]+$/, "") : owner?.name;
  const explicit = pod.annotations["weft.dev/mode"] === "explicit";
  return [
    {
      pod: pod.name,
      name: ownerName ?? pod.name,
      namespace: pod.namespace,
      ip,
      serviceAccount: pod.spec.serviceAccountName ?? "default",
      labels: pod.labels,
      ports: pod.spec.containers.flatMap((c) =>
        (c.ports ?? [])
          .filter((p) => (p.protocol ?? "TCP") === "TCP")
          .map((p) => ({ name: p.name ?? "", port: p.containerPort })),
      ),
      ready: (pod.status?.conditions ?? []).some((c) => c.type === "Ready" && c.status === "True"),
      interception: explicit
        ? {
            kind: "explicit",
            appAddress: pod.annotations["weft.dev/app-address"] ?? "127.0.0.1",
            servicePrefix: pod.annotations["weft.dev/service-prefix"] ?? "127.0",
          }
        : { kind: "transparent" },
      source: pod.source,
    },
  ];
}

function endpoint(w: Workload, port: number, mesh: MeshSettings): EndpointIr {
  return {
    address: w.ip,
    port,
    weight: 1,
    meshTls: w.labels["security.istio.io/tlsMode"] === "istio",
    ready: w.ready,
    labels: w.labels,
    workload: {
      name: w.name,
      namespace: w.namespace,
      canonicalName: w.labels["service.istio.io/canonical-name"] ?? w.labels["app"] ?? w.name,
      canonicalRevision: w.labels["service.istio.io/canonical-revision"] ?? w.labels["version"] ?? "latest",
      identity: spiffeId(mesh, w.namespace, w.serviceAccount),
    },
  };
}

/** The container port that a service port leads to on this pod; null if a named port is missing there. */
export function targetPortOf(port: ServicePort, workload: Workload): number | null {
  if (typeof port.targetPort === "string")
    return workload.ports.find((p) => p.name === port.targetPort)?.port ?? null;
  return port.targetPort ?? port.number;
}

function kubernetesService(
  s: Loaded<"/Service">,
  vips: ReadonlyMap<string, string>,
  workloads: readonly Workload[],
  all: { objects: readonly Loaded[] },
  mesh: MeshSettings,
): Service {
  const ports = (s.spec.ports ?? [])
    .filter((p) => (p.protocol ?? "TCP") === "TCP" && p.port !== undefined)
    .map((p) => ({
      name: p.name ?? "",
      number: p.port!,
      targetPort: p.targetPort ?? null,
      protocol: protocolOf(p.name, p.appProtocol),
    }));
  const selector = s.spec.selector ?? null;
  const members = workloads.filter(
    (w) => selector !== null && w.namespace === s.namespace && selects(selector, w.labels),
  );
  const slices = objectsOf(all, "discovery.k8s.io/EndpointSlice").filter(
    (e) => e.namespace === s.namespace && e.labels["kubernetes.io/service-name"] === s.name,
  );
  const endpoints = new Map<number, EndpointIr[]>();
  for (const p of ports) {
    const found: EndpointIr[] = [];
    for (const w of members) {
      const target = targetPortOf(p, w);
      if (target !== null) found.push(endpoint(w, target, mesh));
    }
    for (const slice of slices) {
      const target = (slice.spec.ports ?? []).find((q) => (q.name ?? "") === p.name)?.port ?? null;
      if (target === null) continue;
      for (const e of slice.spec.endpoints ?? [])
        for (const address of e.addresses)
          found.push({
            address,
            port: target,
            weight: 1,
            meshTls: false,
            ready: e.conditions?.ready ?? true,
            labels: {},
            workload: null,
          });
    }
    endpoints.set(p.number, found);
  }
  const headless = s.spec.clusterIP === "None";
  const given = [s.spec.clusterIP, ...(s.spec.clusterIPs ?? []), vips.get(`${s.namespace}/${s.name}`)];
  return {
    kind: "kubernetes",
    host: `${s.name}.${s.namespace}.svc.${mesh.clusterDomain}`,
    name: s.name,
    namespace: s.namespace,
    addresses: headless
      ? []
      : [...new Set(given.filter((a): a is string => a !== undefined && a !== "" && a !== "None"))],
    headless,
    ports,
    selector,
    resolution: "eds",
    external: false,
    sans: [],
    endpoints,
    source: s.source,
  };
}

function entryServices(e: Loaded<"networking.istio.io/ServiceEntry">, mesh: MeshSettings): Service[] {
  const resolution = (
    { STATIC: "static", DNS: "dns", DNS_ROUND_ROBIN: "dns-round-robin", NONE: "none" } as const
  )[e.spec.resolution ?? "NONE"];
  const ports = e.spec.ports.map((p) => ({
    name: p.name ?? "",
    number: p.number,
    targetPort: p.targetPort ?? null,
    protocol: protocolOf(p.protocol ?? p.name, undefined),
  }));
  return e.spec.hosts.map((host) => ({
    kind: "entry",
    host,
    name: e.name,
    namespace: e.namespace,
    addresses: e.spec.addresses ?? [],
    headless: false,
    ports,
    selector: null,
    resolution,
    external: e.spec.location !== "MESH_INTERNAL",
    sans: e.spec.subjectAltNames ?? [],
    endpoints: new Map(
      ports.map((p) => {
        // A DNS entry without endpoints resolves its own host.
        const given = e.spec.endpoints ?? (resolution.startsWith("dns") ? [{ address: host }] : []);
        return [
          p.number,
          given.map((x: { address: string } & Partial<NonNullable<typeof e.spec.endpoints>[number]>) => ({
            address: x.address,
            port: x.ports?.[p.name] ?? (typeof p.targetPort === "number" ? p.targetPort : p.number),
            weight: x.weight ?? 1,
            meshTls: x.labels?.["security.istio.io/tlsMode"] === "istio",
            ready: true,
            labels: x.labels ?? {},
            workload:
              x.serviceAccount === undefined
                ? null
                : {
                    name: e.name,
                    namespace: e.namespace,
                    canonicalName: e.name,
                    canonicalRevision: "latest",
                    identity: spiffeId(mesh, e.namespace, x.serviceAccount),
                  },
          })),
        ];
      }),
    ),
    source: e.source,
  }));
}
