import type { EndpointIr } from "#ir/cluster.ts";
import { Memo } from "#lib/memo.ts";
import type { KindKey } from "./kinds.ts";
import type { Loaded } from "./load.ts";
import { resolveMtls } from "./peer-authentication/resolve.ts";
import { externalNames, withAliases } from "./service/alias.ts";
import {
  DEFAULT_MESH,
  type Instance,
  type MeshSettings,
  objectsOf,
  type PolicyWorld,
  protocolOf,
  type Service,
  type ServicePort,
  selects,
  spiffeId,
  targetPortOf,
  type Workload,
  type World,
} from "./world.ts";

/** What `resolve` never reads: endpoints come from these, and services are read through `Service`. */
const NOT_POLICY: ReadonlySet<KindKey> = new Set<KindKey>([
  "/Pod",
  "/Service",
  "/ServiceAccount",
  "/ConfigMap",
  "/Secret",
  "/PersistentVolumeClaim",
  "apps/Deployment",
  "apps/StatefulSet",
  "apps/DaemonSet",
  "batch/Job",
  "batch/CronJob",
  "autoscaling/HorizontalPodAutoscaler",
  "discovery.k8s.io/EndpointSlice",
  "networking.istio.io/ServiceEntry",
  "networking.k8s.io/IPAddress",
]);

/**
 * Objects -> World. Pure; the objects have been validated one by one by `load`. What equals its counterpart in
 * `before` is that very object, so that results made from it are found again.
 */
export function buildWorld(
  loaded: readonly Loaded[],
  mesh: MeshSettings = DEFAULT_MESH,
  before: World | null = null,
): World {
  const { objects, duplicates } = withoutDuplicates(loaded);
  const all = { objects };
  const workloads = same(
    objectsOf(all, "/Pod").flatMap((pod) => workloadOf(pod) ?? []),
    before?.workloads,
  );
  const members = new Members(workloads);
  const refuses = refusesMtls({ mesh, objects });
  const vips = new Map(
    objectsOf(all, "networking.k8s.io/IPAddress").map((ip) => [
      `${ip.spec.parentRef.namespace ?? "default"}/${ip.spec.parentRef.name}`,
      ip.name,
    ]),
  );
  const slices = Map.groupBy(
    objectsOf(all, "discovery.k8s.io/EndpointSlice"),
    (e) => `${e.namespace}/${e.labels["kubernetes.io/service-name"]}`,
  );
  const known = new Map(before?.services.map((s) => [s.host, s]));
  const endpoints = new Map<string, ReadonlyMap<number, readonly EndpointIr[]>>();
  const finish = (service: Service, own: readonly Slice[]): Service => {
    const last = before?.endpoints.get(service.host);
    const lists = new Map<number, readonly EndpointIr[]>();
    const identities: Record<number, string[]> = {};
    for (const port of service.ports) {
      const found = service.inline[port.number] ?? endpointsOf(service, port, members, own, mesh, refuses);
      lists.set(port.number, same(found, last?.get(port.number)));
      identities[port.number] = [...new Set(found.flatMap((e) => e.workload?.identity ?? []))].sort();
    }
    // The first of two services of one host keeps it.
    if (!endpoints.has(service.host)) endpoints.set(service.host, lists);
    const instances = service.headless ? instancesOf(service, lists, members) : {};
    return intern({ ...service, identities, instances }, known.get(service.host));
  };
  const given = withAliases(
    [
      ...objectsOf(all, "/Service").map((s) => kubernetesService(s, vips, mesh)),
      ...objectsOf(all, "networking.istio.io/ServiceEntry").flatMap((e) => entryServices(e, mesh)),
    ],
    externalNames(objectsOf(all, "/Service")),
    mesh,
  );
  const services = same(
    given.map((s) => finish(s, (s.kind === "kubernetes" && slices.get(`${s.namespace}/${s.name}`)) || [])),
    before?.services,
  );
  return {
    mesh,
    services,
    policy: policyWorld(mesh, services, objects, before?.policy ?? null),
    endpoints,
    workloads,
    objects,
    duplicates,
  };
}

function policyWorld(
  mesh: MeshSettings,
  services: readonly Service[],
  objects: readonly Loaded[],
  before: PolicyWorld | null,
): PolicyWorld {
  const policies = same(
    objects.filter((o) => !NOT_POLICY.has(o.key)),
    before?.objects,
  );
  const unchanged =
    before !== null &&
    before.services === services &&
    before.objects === policies &&
    JSON.stringify(before.mesh) === JSON.stringify(mesh);
  return unchanged ? before : { mesh, services, objects: policies };
}

function withoutDuplicates(given: readonly Loaded[]): Pick<World, "objects" | "duplicates"> {
  const first = new Map<string, Loaded>();
  const duplicates: { object: Loaded; first: Loaded }[] = [];
  for (const object of given) {
    const id = `${object.key} ${object.namespace}/${object.name}`;
    const earlier = first.get(id);
    if (earlier === undefined) first.set(id, object);
    else if (isWish(earlier) && !isWish(object)) first.set(id, object);
    else if (!isWish(object) || isWish(earlier)) duplicates.push({ object, first: earlier });
  }
  return { objects: first.size === given.length ? given : [...first.values()], duplicates };
}

/** A Pod as somebody wrote it: the platform that runs it tells of it under the same name, with a status. */
function isWish(object: Loaded): boolean {
  return object.key === "/Pod" && object.status === null;
}

/** The former list if it holds the same objects in the same order. */
function same<T>(now: readonly T[], before: readonly T[] | undefined): readonly T[] {
  return before?.length === now.length && now.every((x, i) => x === before[i]) ? before : now;
}

const content = new WeakMap<Service, string>();
function contentOf(service: Service): string {
  let text = content.get(service);
  if (text === undefined) {
    text = JSON.stringify(service);
    content.set(service, text);
  }
  return text;
}
function intern(service: Service, before: Service | undefined): Service {
  return before !== undefined && contentOf(before) === contentOf(service) ? before : service;
}

/** Pods by namespace and label: a selector looks only at the pods that carry its rarest label. */
class Members {
  readonly #byLabel = new Map<string, Workload[]>();
  readonly #byAddress = new Map<string, Workload>();

  constructor(workloads: readonly Workload[]) {
    for (const w of workloads) {
      this.#byAddress.set(`${w.namespace}/${w.ip}`, w);
      for (const key in w.labels) {
        const id = `${w.namespace}\0${key}\0${w.labels[key]}`;
        const list = this.#byLabel.get(id);
        if (list === undefined) this.#byLabel.set(id, [w]);
        else list.push(w);
      }
    }
  }

  of(namespace: string, selector: Readonly<Record<string, string>> | null): readonly Workload[] {
    let fewest: readonly Workload[] | null = null;
    // A Service with an empty selector selects nothing: its endpoints are given (Kubernetes).
    for (const key in selector) {
      const list = this.#byLabel.get(`${namespace}\0${key}\0${selector[key]}`) ?? [];
      if (fewest === null || list.length < fewest.length) fewest = list;
    }
    return fewest?.filter((w) => selects(selector!, w.labels)) ?? [];
  }

  at(namespace: string, address: string): Workload | undefined {
    return this.#byAddress.get(`${namespace}/${address}`);
  }
}

const workloadsOf = new WeakMap<Loaded, Workload>();

/** null: a pod without address, or one that has ended. */
function workloadOf(pod: Loaded<"/Pod">): Workload | null {
  const known = workloadsOf.get(pod);
  if (known !== undefined) return known;
  const { phase, podIP: ip, conditions } = pod.status ?? {};
  if (ip === undefined || ip === "" || phase === "Succeeded" || phase === "Failed") return null;
  const metadata = pod.raw["metadata"] as {
    ownerReferences?: { kind?: string; name?: string }[];
    deletionTimestamp?: unknown;
  };
  const owner = metadata.ownerReferences?.[0];
  // A Deployment's ReplicaSet is called after it and the hash of the template.
  const hash = pod.labels["pod-template-hash"];
  const suffix = owner?.kind === "ReplicaSet" && hash !== undefined ? `-${hash}` : "";
  const ownerName = owner?.name?.endsWith(suffix)
    ? owner.name.slice(0, owner.name.length - suffix.length)
    : owner?.name;
  const explicit = pod.annotations["weft.dev/mode"] === "explicit";
  const workload: Workload = {
    pod: pod.name,
    name: ownerName ?? pod.name,
    namespace: pod.namespace,
    ip,
    serviceAccount: pod.spec.serviceAccountName ?? pod.spec.serviceAccount ?? "default",
    labels: pod.labels,
    ports: pod.spec.containers.flatMap((c) =>
      (c.ports ?? [])
        .filter((p) => (p.protocol ?? "TCP") === "TCP")
        .map((p) => ({ name: p.name ?? "", port: p.containerPort })),
    ),
    ready:
      metadata.deletionTimestamp === undefined &&
      (conditions ?? []).some((c) => c.type === "Ready" && c.status === "True"),
    hostname: pod.spec.hostname ?? pod.labels["statefulset.kubernetes.io/pod-name"] ?? null,
    subdomain: pod.spec.subdomain ?? null,
    interception: explicit
      ? {
          kind: "explicit",
          appAddress: pod.annotations["weft.dev/app-address"] ?? "127.0.0.1",
          servicePrefix: pod.annotations["weft.dev/service-prefix"] ?? "127.0",
        }
      : { kind: "transparent" },
    source: pod.source,
  };
  workloadsOf.set(pod, workload);
  return workload;
}

type Slice = Loaded<"discovery.k8s.io/EndpointSlice">;

function endpointsOf(
  service: Service,
  port: ServicePort,
  members: Members,
  slices: readonly Slice[],
  mesh: MeshSettings,
  refuses: RefusesMtls,
): EndpointIr[] {
  const found: EndpointIr[] = [];
  const taken = new Set<string>();
  const add = (e: EndpointIr): void => {
    const at = `${e.address} ${e.port}`;
    if (taken.has(at)) return;
    taken.add(at);
    found.push(e);
  };
  for (const w of members.of(service.namespace, service.selector)) {
    const target = targetPortOf(port, w);
    if (target !== null) add(podEndpoint(w, target, mesh, refuses));
  }
  for (const slice of slices) {
    const target = (slice.spec.ports ?? []).find((q) => (q.name ?? "") === port.name)?.port ?? null;
    if (target === null) continue;
    for (const e of slice.spec.endpoints ?? [])
      for (const address of e.addresses) {
        const ready = e.conditions?.ready ?? true;
        const pod = members.at(service.namespace, address);
        if (pod === undefined) add(plainEndpoint(slice, address, target, ready));
        else add({ ...podEndpoint(pod, target, mesh, refuses), ready });
      }
  }
  return found;
}

function instancesOf(
  service: Service,
  lists: ReadonlyMap<number, readonly EndpointIr[]>,
  members: Members,
): Record<number, Instance[]> {
  const instances: Record<number, Instance[]> = {};
  for (const [port, endpoints] of lists) {
    const found = endpoints.map((e): Instance => {
      const pod = members.at(service.namespace, e.address);
      // A pod has its name in the service that it was made for: subdomain (Kubernetes, DNS for Services and Pods).
      const mine = pod !== undefined && (pod.subdomain === null || pod.subdomain === service.name);
      const hostname = mine ? pod.hostname : null;
      const endpoint = e.ready ? e : { ...e, ready: true };
      return { name: hostname ?? e.address.replace(/[.:]/g, "-"), named: hostname !== null, endpoint };
    });
    instances[port] = found.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  }
  return instances;
}

type RefusesMtls = (workload: Workload, port: number) => boolean;
/** Where PeerAuthentication says DISABLE clients must know: their proxies would offer TLS to a port that takes none. */
function refusesMtls(world: Pick<PolicyWorld, "mesh" | "objects">): RefusesMtls {
  const disabled = objectsOf(world, "security.istio.io/PeerAuthentication").some(({ spec }) =>
    [spec.mtls, ...Object.values(spec.portLevelMtls ?? {})].some((m) => m?.mode === "DISABLE"),
  );
  if (!disabled) return () => false; // the common case costs nothing per endpoint
  return (workload, port) => resolveMtls(world, workload, port) === "DISABLE";
}

const podEndpoints = new Memo<EndpointIr>();
function podEndpoint(w: Workload, port: number, mesh: MeshSettings, refuses: RefusesMtls): EndpointIr {
  const identity = spiffeId(mesh, w.namespace, w.serviceAccount);
  const meshTls = w.labels["security.istio.io/tlsMode"] === "istio" && !refuses(w, port);
  return podEndpoints.get(w, `${port} ${identity} ${meshTls}`, () => ({
    address: w.ip,
    port,
    weight: 1,
    meshTls,
    ready: w.ready,
    labels: w.labels,
    workload: {
      name: w.name,
      namespace: w.namespace,
      canonicalName: w.labels["service.istio.io/canonical-name"] ?? w.labels["app"] ?? w.name,
      canonicalRevision: w.labels["service.istio.io/canonical-revision"] ?? w.labels["version"] ?? "latest",
      identity,
    },
  }));
}

const plainEndpoints = new Memo<EndpointIr>();
function plainEndpoint(slice: Slice, address: string, port: number, ready: boolean): EndpointIr {
  const rest = { weight: 1, meshTls: false, ready, labels: {}, workload: null };
  return plainEndpoints.get(slice, `${address} ${port} ${ready}`, () => ({ address, port, ...rest }));
}

function kubernetesService(
  s: Loaded<"/Service">,
  vips: ReadonlyMap<string, string>,
  mesh: MeshSettings,
): Service {
  const ports = (s.spec.ports ?? [])
    .filter((p) => (p.protocol ?? "TCP") === "TCP" && p.port !== undefined)
    .map((p) => ({
      name: p.name ?? "",
      number: p.port!,
      targetPort: p.targetPort ?? null,
      protocol: protocolOf(p.name, p.appProtocol, p.port!),
    }));
  const headless = s.spec.clusterIP === "None";
  // A platform may give a headless Service an address, too: where pods cannot be called by theirs.
  const given = [
    ...(headless ? [] : [s.spec.clusterIP, ...(s.spec.clusterIPs ?? [])]),
    vips.get(`${s.namespace}/${s.name}`),
  ];
  const alias = s.spec.type === "ExternalName" ? s.spec.externalName : undefined;
  return {
    kind: "kubernetes",
    host: `${s.name}.${s.namespace}.svc.${mesh.clusterDomain}`,
    name: s.name,
    namespace: s.namespace,
    addresses: [...new Set(given.filter((a): a is string => a !== undefined && a !== "" && a !== "None"))],
    headless,
    ports,
    selector: alias === undefined ? (s.spec.selector ?? null) : null,
    resolution: alias === undefined ? "eds" : "dns",
    external: alias !== undefined,
    exportTo: s.annotations["networking.istio.io/exportTo"]?.split(",").map((t) => t.trim()),
    sans: [],
    identities: {},
    instances: {},
    aliases: [],
    inline:
      alias === undefined
        ? {}
        : Object.fromEntries(
            ports.map((p) => [
              p.number,
              [
                {
                  address: alias,
                  port: p.number,
                  weight: 1,
                  meshTls: false,
                  ready: true,
                  labels: {},
                  workload: null,
                },
              ],
            ]),
          ),
    source: s.source,
  };
}

const RESOLUTION = {
  STATIC: "static",
  DNS: "dns",
  DNS_ROUND_ROBIN: "dns-round-robin",
  NONE: "none",
} as const;

function entryServices(e: Loaded<"networking.istio.io/ServiceEntry">, mesh: MeshSettings): Service[] {
  const selector = e.spec.workloadSelector?.labels ?? null;
  const resolution = selector === null ? RESOLUTION[e.spec.resolution ?? "NONE"] : "eds";
  const ports = e.spec.ports.map((p) => ({
    name: p.name ?? "",
    number: p.number,
    targetPort: p.targetPort ?? null,
    protocol: protocolOf(p.protocol ?? p.name, undefined, p.number),
  }));
  return e.spec.hosts.map((host) => ({
    kind: "entry",
    host,
    name: e.name,
    namespace: e.namespace,
    addresses: e.spec.addresses ?? [],
    headless: false,
    ports,
    selector,
    resolution,
    external: e.spec.location !== "MESH_INTERNAL",
    exportTo: e.spec.exportTo,
    sans: e.spec.subjectAltNames ?? [],
    identities: {},
    instances: {},
    aliases: [],
    inline: selector === null ? inlineEndpoints(e, host, ports, resolution, mesh) : {},
    source: e.source,
  }));
}

function inlineEndpoints(
  e: Loaded<"networking.istio.io/ServiceEntry">,
  host: string,
  ports: readonly ServicePort[],
  resolution: Service["resolution"],
  mesh: MeshSettings,
): Record<number, EndpointIr[]> {
  // A DNS entry without endpoints resolves its own host.
  const listed = e.spec.endpoints ?? [];
  // Without endpoints the host itself is looked up.
  const given = listed.length > 0 || !resolution.startsWith("dns") ? listed : [{ address: host }];
  const one = (
    p: ServicePort,
    x: { address: string } & Partial<NonNullable<typeof e.spec.endpoints>[number]>,
  ): EndpointIr => ({
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
  });
  return Object.fromEntries(ports.map((p) => [p.number, given.map((x) => one(p, x))]));
}
