/** A request's way through the mesh, proxy by proxy, decided by the sidecar's own code over the real configuration. */
import type { ServiceInfo, WorkloadInfo } from "#control-plane/admin/contract.ts";
import { type Decision, decide, type Forwarded } from "#sidecar/decide.ts";
import type { ConnectionFacts, HeadView, Snapshot } from "#sidecar/snapshot.ts";
import { UserError } from "../errors.ts";
import { describe, destination, type Finding, mtls } from "./findings.ts";
import type { MeshView } from "./mesh.ts";
import { type AskedRequest, headOf } from "./request.ts";

export interface Step {
  /** Pod whose proxy decides here. */
  readonly pod: string;
  readonly side: "gateway" | "outbound" | "inbound";
  /** What was asked, in order: "listener", "mTLS", "authorization", "route", "fault", "destination" ... */
  readonly findings: readonly Finding[];
}

/** One way the request may take; several where a route splits. */
export interface Way {
  /** 0 to 100. */
  readonly percent: number;
  readonly steps: readonly Step[];
  /** HTTP status that the caller sees; null: the application answers; 0: the connection is closed. */
  readonly status: number | null;
  readonly reason: string;
}

export interface Explanation {
  readonly request: { readonly method: string; readonly authority: string; readonly path: string };
  readonly from: string;
  readonly ways: readonly Way[];
  /** Whether the application is reached on every way. */
  readonly reached: boolean;
}

interface Walker {
  readonly mesh: MeshView;
  readonly asked: AskedRequest;
}

const MAX_HOPS = 4;

export async function explain(
  mesh: MeshView,
  asked: AskedRequest,
  from: string | null,
): Promise<Explanation> {
  const walker: Walker = { mesh, asked };
  const start = from === null ? enterFromOutside(walker) : findWorkload(mesh, from);
  const ways =
    start.kind === "gateway"
      ? await throughGateway(walker, start)
      : await outbound(walker, start, asked.head, [], 100, 0);
  return {
    request: { method: asked.method, authority: asked.head.authority, path: asked.head.path },
    from: from === null ? "outside" : start.pod,
    ways,
    reached: ways.every((way) => way.status === null),
  };
}

/** By pod, workload, `app` label or `gateway`; a unique prefix suffices. */
export function findWorkload(mesh: Pick<MeshView, "workloads">, name: string): WorkloadInfo {
  const [wanted, namespace] = name.includes(".") ? name.split(".") : [name, undefined];
  const all = mesh.workloads.filter((w) => namespace === undefined || w.namespace === namespace);
  const tests: ((w: WorkloadInfo) => boolean)[] = [
    (w) => w.pod === wanted,
    (w) => w.workload === wanted,
    (w) => wanted === "gateway" && w.kind === "gateway",
    (w) => w.labels["app"] === wanted,
    (w) => w.pod.startsWith(wanted!),
  ];
  for (const test of tests) {
    const found = all.filter(test);
    // Pods of one workload are alike; different workloads are not.
    if (new Set(found.map((w) => `${w.namespace}/${w.workload}`)).size === 1) return found[0]!;
    if (found.length > 1)
      throw new UserError(
        `${name} is more than one workload: say which of ${names(found.map((w) => w.workload))}`,
      );
  }
  throw new UserError(`no workload ${name}; there are ${names(mesh.workloads.map((w) => w.workload))}`);
}

const names = (list: readonly string[]): string => [...new Set(list)].sort().join(", ");

function enterFromOutside({ mesh, asked }: Walker): WorkloadInfo {
  const open = mesh.doors.flatMap((door) => {
    const spec = door.object["spec"] as { ports?: { port: number }[]; selector?: Record<string, string> };
    return (spec.ports ?? []).map(({ port }) => ({ port, door, selector: spec.selector ?? {} }));
  });
  const hit = open.find(({ port }) => port === asked.port);
  if (hit === undefined)
    throw new UserError(
      `nothing of the mesh is open to the outside at port ${asked.port}` +
        (open.length === 0 ? "" : ` (open: ${open.map(({ port }) => port).join(", ")})`) +
        "; say which workload calls: --from WORKLOAD",
    );
  const gateway = mesh.workloads.find(
    (w) =>
      w.namespace === hit.door.namespace &&
      Object.entries(hit.selector).every(([key, value]) => w.labels[key] === value),
  );
  if (gateway === undefined)
    throw new UserError(`Service ${hit.door.namespace}/${hit.door.name} selects no pod with a proxy`);
  return gateway;
}

async function throughGateway(walker: Walker, gateway: WorkloadInfo): Promise<Way[]> {
  const snapshot = await walker.mesh.snapshot(gateway);
  const target = gatewayPort(walker, gateway);
  const listener = snapshot.bound.find((l) => l.direction === "OUTBOUND" && l.port === target);
  if (listener === undefined)
    return [
      {
        percent: 100,
        steps: [{ pod: gateway.pod, side: "gateway", findings: [] }],
        status: 0,
        reason: `the gateway listens on no port ${target}: no Gateway object opens it`,
      },
    ];
  const facts = plainFacts("127.0.0.1", gateway.ip, listener.port);
  const decision = decide(snapshot, { listener: listener.name, facts, head: walker.asked.head });
  return follow(walker, gateway, "gateway", decision, walker.asked.head, [], 100, 0);
}

/** The container port behind the door's port. */
function gatewayPort({ mesh, asked }: Walker, gateway: WorkloadInfo): number {
  for (const { object, namespace } of mesh.doors) {
    if (namespace !== gateway.namespace) continue;
    const { ports = [] } = object["spec"] as { ports?: { port: number; targetPort?: number | string }[] };
    const target = ports.find(({ port }) => port === asked.port)?.targetPort;
    if (typeof target === "number") return target;
  }
  return asked.port;
}

async function outbound(
  walker: Walker,
  from: WorkloadInfo,
  head: HeadView,
  before: readonly Step[],
  percent: number,
  hop: number,
): Promise<Way[]> {
  const snapshot = await walker.mesh.snapshot(from);
  const { host, port } = walker.asked;
  const service = serviceOf(walker.mesh, host, from.namespace);
  const address = service?.addresses[0] ?? host;
  const { listener, destination } = outboundListener(snapshot, from, address, port);
  const facts = plainFacts(from.ip, destination, port);
  const decision = decide(snapshot, { listener, facts, head });
  return follow(walker, from, "outbound", decision, head, before, percent, hop);
}

function outboundListener(snapshot: Snapshot, from: WorkloadInfo, address: string, port: number) {
  if (from.servicePrefix === null) return { listener: "virtualOutbound", destination: address };
  // Explicit mode: the pod's own address of the Service, else the HTTP proxy port.
  const own = `${from.servicePrefix}.${address.split(".").slice(2).join(".")}`;
  if (snapshot.listeners.has(`${own}_${port}`)) return { listener: `${own}_${port}`, destination: own };
  const proxy = `${from.servicePrefix}.0.1`;
  return { listener: `${proxy}_15001`, destination: proxy };
}

export function serviceOf(
  mesh: Pick<MeshView, "services">,
  host: string,
  namespace: string,
): ServiceInfo | null {
  const exact = mesh.services.find((s) => s.host === host || s.addresses.includes(host));
  if (exact !== undefined) return exact;
  const [name, ns = namespace, ...rest] = host.split(".");
  if (rest.length > 0 && rest[0] !== "svc") return null;
  return mesh.services.find((s) => s.name === name && s.namespace === ns) ?? null;
}

async function follow(
  walker: Walker,
  from: WorkloadInfo,
  side: "gateway" | "outbound",
  decision: Decision,
  head: HeadView,
  before: readonly Step[],
  percent: number,
  hop: number,
): Promise<Way[]> {
  const findings = describe(decision, from);
  const here = (more: readonly Finding[]): Step[] => [
    ...before,
    { pod: from.pod, side, findings: [...findings, ...more] },
  ];
  if (decision.status !== null)
    return [{ percent, steps: here([]), status: decision.status, reason: decision.reason }];
  const live = decision.clusters.filter((cluster) => cluster.weight > 0);
  const total = live.reduce((sum, cluster) => sum + cluster.weight, 0);
  const ways: Way[] = [];
  for (const cluster of live) {
    const share = (percent * cluster.weight) / total;
    const found = [destination(cluster, share, live.length > 1, head)];
    const endpoint = cluster.endpoints.find(({ healthy }) => healthy);
    if (!cluster.known || endpoint === undefined) {
      const passes = cluster.name === "PassthroughCluster";
      const reason = cluster.known ? "no_healthy_upstream" : "cluster_not_found";
      if (passes)
        ways.push({
          percent: share,
          steps: here(found),
          status: null,
          reason: "leaves the mesh: no Service or ServiceEntry is called so, the address is dialled as it is",
        });
      else ways.push({ percent: share, steps: here(found), status: 503, reason });
      continue;
    }
    const target = walker.mesh.workloads.find((w) => endpoint.address.startsWith(`${w.ip}:`));
    if (target === undefined || hop >= MAX_HOPS) {
      const reason = `reaches ${endpoint.address}, which has no proxy of this mesh`;
      ways.push({ percent: share, steps: here(found), status: null, reason });
      continue;
    }
    const port = Number(endpoint.address.split(":").at(-1));
    const sent = cluster.forwarded === null ? head : forward(head, cluster.forwarded);
    ways.push(await inbound(walker, from, target, port, endpoint, sent, here(found), share));
  }
  return ways;
}

async function inbound(
  walker: Walker,
  from: WorkloadInfo,
  target: WorkloadInfo,
  port: number,
  transport: { readonly tls: boolean; readonly sni: string },
  head: HeadView,
  before: readonly Step[],
  percent: number,
): Promise<Way> {
  const snapshot = await walker.mesh.snapshot(target);
  const facts: ConnectionFacts = {
    ...plainFacts(from.ip, target.ip, port),
    ...(transport.tls
      ? {
          transportProtocol: "tls",
          applicationProtocols: ["istio-http/1.1", "istio", "http/1.1"],
          serverName: transport.sni,
          peerIdentities: [from.spiffeId],
        }
      : {}),
  };
  const listener = target.servicePrefix === null ? "virtualInbound" : `${target.ip}_${port}`;
  const decision = decide(snapshot, { listener, facts, head });
  const findings = [mtls(target, port, transport.tls, from), ...describe(decision, target)];
  const steps: Step[] = [...before, { pod: target.pod, side: "inbound", findings }];
  const refused = decision.chain === null;
  return {
    percent,
    steps,
    // The caller's proxy answers for a connection that was closed on it.
    status: refused ? 503 : decision.status,
    reason: refused
      ? "the connection is refused: plaintext where mutual TLS is STRICT, or the other way round"
      : decision.status === null
        ? "the application answers"
        : decision.reason,
  };
}

function plainFacts(source: string, destination: string, port: number): ConnectionFacts {
  return {
    destinationAddress: destination,
    destinationPort: port,
    sourceAddress: source,
    sourcePort: 50_000,
    transportProtocol: "raw_buffer",
    applicationProtocols: ["http/1.1"],
    serverName: "",
    peerIdentities: [],
  };
}

/** The head as the next proxy sees it. */
function forward(head: HeadView, to: Forwarded): HeadView {
  const fields = new Map<string, readonly string[]>();
  for (const { name } of to.headers) if (head.has(name)) fields.set(name, head.getAll(name));
  const touched = new Set<string>();
  for (const mutation of to.headers) {
    const { name } = mutation;
    touched.add(name);
    const had = fields.get(name) ?? [];
    if (mutation.kind === "remove") fields.delete(name);
    else {
      const value = mutation.value(() => null);
      if (mutation.kind === "append") fields.set(name, [...had, value]);
      else if (mutation.kind === "overwrite") fields.set(name, [value]);
      else if ((mutation.kind === "overwrite-if-exists") === had.length > 0) fields.set(name, [value]);
    }
  }
  const changed = headOf(head.method, to.authority, to.path, fields);
  return {
    ...changed,
    get: (name) => (touched.has(name) ? changed.get(name) : head.get(name)),
    getAll: (name) => (touched.has(name) ? changed.getAll(name) : head.getAll(name)),
    has: (name) => (touched.has(name) ? changed.has(name) : head.has(name)),
  };
}
