/** Who asks, and at which listener of which proxy the request arrives first. */
import { isIP } from "node:net";
import type { WorkloadInfo } from "#control-plane/admin/contract.ts";
import type { ConnectionFacts, Snapshot } from "#sidecar/snapshot.ts";
import { EXIT, UserError } from "../errors.ts";
import { findPod } from "../proxies.ts";
import type { Asked, RequestHead } from "./head.ts";
import type { MeshView } from "./view.ts";

export interface Start {
  readonly pod: WorkloadInfo;
  readonly outside: boolean;
  /** An explicit proxy does not know what address a name that it does not know has. */
  readonly explicit: boolean;
  /** What the pod proves with its certificate when it calls on. */
  readonly identity: string;
  /** Name in the snapshot; "" = nothing listens there. */
  readonly listener: string;
  readonly facts: ConnectionFacts;
  /** Null: TCP, or the app speaks TLS itself: the proxy sees no request. */
  readonly head: RequestHead | null;
  readonly dialled: string;
  /** Something the reader should know about the name. */
  readonly note: string | null;
}

// RFC 5737: stands for "some address outside of the mesh".
const SOMEWHERE = "192.0.2.1";
const EXPLICIT_PROXY_PORT = 15001;

/** Throws UserError where nobody can be meant: a Service of the mesh needs `--from`, a port needs a gateway. */
export function startPod(view: MeshView, asked: Asked, from: string | null): WorkloadInfo {
  if (from !== null) return findPod(view.workloads, from);
  const { hostname } = asked.url;
  const gateways = view.workloads.filter((w) => w.kind === "gateway");
  const service = view.services.find((s) => s.host === hostname || s.name === hostname.split(".")[0]);
  if (asked.head === null)
    throw new UserError(`say who opens the connection, such as --from ${firstApp(view)}`, EXIT.usage);
  const ofGateway = (name: string) => gateways.some((g) => g.workload === name);
  if (service !== undefined && !ofGateway(service.name))
    throw new UserError(
      `${hostname} is a Service inside the mesh: say who asks, such as --from ${firstApp(view)}`,
      EXIT.usage,
    );
  const gateway = gateways.find((g) => gatewayPort(g, asked.port) !== null);
  if (gateway !== undefined) return gateway;
  const open = gateways.flatMap((g) => g.inbound.map((p) => `${g.workload} at ${p.servicePort ?? p.port}`));
  const doors = open.length === 0 ? "this mesh has no gateway" : `gateways: ${open.join(", ")}`;
  throw new UserError(
    `no gateway listens at port ${asked.port} (${doors}); or say who asks inside the mesh: --from ${firstApp(view)}`,
  );
}

function firstApp(view: MeshView): string {
  return view.workloads.find((w) => w.kind === "sidecar")?.workload ?? "WORKLOAD";
}

function gatewayPort(gateway: WorkloadInfo, port: number): number | null {
  return gateway.inbound.find((p) => p.servicePort === port || p.port === port)?.port ?? null;
}

/** `explicitFrom`: the pod was named with --from; a gateway of one port then stands for any port of the URL. */
export function start(
  view: MeshView,
  asked: Asked,
  pod: WorkloadInfo,
  explicitFrom: boolean,
  snapshot: Snapshot,
): Start {
  const base = {
    pod,
    identity: pod.spiffeId,
    dialled: asked.url.host,
    note: null,
    explicit: pod.servicePrefix !== null,
  };
  const secure = asked.url.protocol === "https:";
  const facts = {
    sourcePort: 40_000,
    transportProtocol: secure ? ("tls" as const) : ("raw_buffer" as const),
    applicationProtocols: ["http/1.1"],
    serverName: secure ? asked.url.hostname : "",
    peerIdentities: [],
  };
  if (pod.kind === "gateway") {
    const [only, ...others] = pod.inbound;
    // `--from gateway http://shop.example/`: the port of the URL need not be the gateway's.
    const fallback = explicitFrom && others.length === 0 ? (only?.port ?? null) : null;
    const port = gatewayPort(pod, asked.port) ?? fallback ?? asked.port;
    const listener = [...snapshot.listeners.values()].find((l) => l.port === port && l.bindToPort);
    return {
      ...base,
      outside: true,
      listener: listener?.name ?? "",
      facts: { ...facts, sourceAddress: SOMEWHERE, destinationAddress: pod.ip, destinationPort: port },
      head: asked.head,
    };
  }
  const { hostname } = asked.url;
  const found = view.lookup(hostname, pod.namespace);
  const literal = isIP(hostname.replace(/[[\]]/g, "")) === 0 ? null : hostname;
  const address = literal ?? found?.address ?? SOMEWHERE;
  const note =
    found === null && literal === null
      ? `${hostname} is no Service that ${pod.namespace} knows: what its address is, DNS says`
      : null;
  const tcp = asked.head === null;
  return {
    ...base,
    outside: false,
    note,
    listener: listenerOf(pod, address, asked, snapshot),
    facts: {
      ...facts,
      ...(tcp ? { applicationProtocols: [] } : {}),
      sourceAddress: pod.ip,
      destinationAddress: address,
      destinationPort: asked.port,
    },
    head: secure ? null : asked.head,
  };
}

/** Where an app's connection arrives: all at one port in transparent mode; else at the HTTP proxy, or the Service's own. */
function listenerOf(
  { servicePrefix }: WorkloadInfo,
  address: string,
  asked: Asked,
  snapshot: Snapshot,
): string {
  if (servicePrefix === null) return "virtualOutbound";
  if (asked.url.protocol === "http:") return `${servicePrefix}.0.1_${EXPLICIT_PROXY_PORT}`;
  const name = `${servicePrefix}.${address.split(".").slice(2).join(".")}_${asked.port}`;
  return snapshot.listeners.has(name) ? name : "";
}
