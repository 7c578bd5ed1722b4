/** What the destination's proxy does with a request that arrives from another one. */
import type { WorkloadInfo } from "#control-plane/admin/contract.ts";
import { decide } from "#sidecar/decide.ts";
import type { Cluster, ConnectionFacts, Snapshot, UpstreamTls } from "#sidecar/snapshot.ts";
import { authorize } from "./authorization.ts";
import type { Outcome, Place, Step } from "./contract.ts";
import type { RequestHead } from "./head.ts";
import { placeIn, placeOf, sourceIn } from "./places.ts";
import type { MeshView } from "./view.ts";

export interface Arrival {
  readonly address: string;
  readonly port: number;
  readonly tls: UpstreamTls | null;
  readonly cluster: Cluster;
  readonly caller: WorkloadInfo;
  readonly head: RequestHead | null;
}

export interface Landing {
  readonly pod: string;
  readonly steps: readonly Step[];
  readonly outcome: Omit<Outcome, "share">;
}

/** What the proxy of the pod at `arrival.address` decides; where there is none, the app is taken to answer. */
export async function land(view: MeshView, arrival: Arrival): Promise<Landing> {
  const { address, port, tls, caller, head } = arrival;
  const workload = view.at(address);
  const config = workload === undefined ? null : await view.config(workload);
  const pod = workload?.pod ?? `${address}:${port}`;
  if (workload === undefined || config === null) {
    const text = workload === undefined ? "outside of the mesh" : "no proxy of this pod is connected";
    const app: Step = { ...step("app", true, `${pod}: ${text}, nothing there decides`) };
    return { pod, steps: [app], outcome: reached(`${pod} is asked`) };
  }
  const steps: Step[] = config.lag === null ? [] : [config.lag];
  const fail = (status: number, because: string, place: Place | null = null): Landing => ({
    pod,
    steps,
    outcome: { status, reachesApp: false, because, place },
  });

  const inbound = workload.inbound.find((p) => p.port === port);
  const mode = inbound?.mtls ?? workload.defaultMtls.mode;
  const said = inbound === undefined ? workload.defaultMtls.source : inbound.mtlsSource;
  const policy = said === null ? null : placeOf(said);
  const proves = tls !== null && tls.certificateSecrets.length > 0;
  const facts: ConnectionFacts = {
    destinationAddress: address,
    destinationPort: port,
    sourceAddress: caller.ip,
    sourcePort: 40_000,
    transportProtocol: tls === null ? "raw_buffer" : "tls",
    applicationProtocols: alpn(tls, head !== null),
    serverName: tls?.sni ?? "",
    peerIdentities: proves ? [caller.spiffeId] : [],
  };
  const names = tls?.validation.subjectAltNames ?? [];
  if (names.length > 0 && !names.some((n) => n.matches(workload.spiffeId))) {
    const because = `${caller.pod} expects ${names.map((n) => bare(n.text)).join(" or ")}, but the certificate of ${pod} says ${bare(workload.spiffeId)}`;
    const place = placeIn(arrival.cluster.istio.config, sourceIn(arrival.cluster.metadata));
    steps.push(step("mtls", false, because, place));
    return fail(503, because, place);
  }
  const listener = accepting(config.snapshot, address, port);
  const chain = listener?.findFilterChain(facts) ?? null;
  const refused = chain === null || (chain.tls?.requireClientCertificate === true && !proves);
  if (listener === null || refused) {
    const how = tls === null ? "plaintext" : "TLS without a certificate of the mesh";
    const because =
      listener === null
        ? `nothing listens at port ${port} of ${pod}`
        : `the destination takes mutual TLS only (${mode}), but ${caller.pod} sends ${how}`;
    const place = listener === null ? null : policy;
    const dr = placeIn(arrival.cluster.istio.config, sourceIn(arrival.cluster.metadata));
    steps.push({
      ...step(listener === null ? "listener" : "mtls", false, because, place),
      details:
        dr === null || listener === null
          ? []
          : [{ text: `how ${caller.pod} calls: ${dr.object}`, place: dr }],
    });
    return fail(503, because, place);
  }
  steps.push(
    step(
      "mtls",
      true,
      proves
        ? `mutual TLS, the caller proves ${bare(caller.spiffeId)} (${mode})`
        : `${tls === null ? "plaintext" : "TLS"}, the caller proves no identity (${mode})`,
      policy,
    ),
  );
  steps.push(step("chain", true, `${listener.name}, filter chain ${chain.name || "(default)"}`));
  const { steps: authorization, deniedBy } = authorize(
    chain,
    { listener: listener.name, wire: config.wire, workload },
    facts,
    head,
  );
  steps.push(...authorization);
  if (deniedBy !== null) {
    const last = authorization.at(-1)!;
    const [detail] = last.details;
    const more = last.details.length > 1 ? `, and ${last.details.length - 1} more` : "";
    const because =
      last.place !== null || detail === undefined ? last.text : `${last.text}: ${detail.text}${more}`;
    const place = last.place ?? detail?.place ?? null;
    // A denied connection is closed; the proxy that wanted it answers for it.
    return fail(deniedBy === "request" ? 403 : 503, because, place);
  }
  const decision = decide(config.snapshot, { listener: listener.name, facts, head });
  if (decision.status !== null) {
    const status = decision.status === 0 ? 503 : decision.status;
    steps.push(step("route", false, `${decision.reason}: ${status}`));
    return fail(status, `${decision.reason} at ${pod}`);
  }
  steps.push(
    step("app", true, `${workload.workload} at port ${port}, through ${decision.clusters[0]?.name ?? "?"}`),
  );
  return { pod, steps, outcome: reached(`the app of ${workload.workload} answers`) };
}

export function step(kind: Step["kind"], ok: boolean, text: string, place: Place | null = null): Step {
  return { kind, ok, text, place, details: [] };
}

function reached(because: string): Landing["outcome"] {
  return { status: 200, reachesApp: true, because, place: null };
}

/** Without spiffe://, as Istio's principals are written. */
export function bare(spiffeId: string): string {
  return spiffeId.replace(/^spiffe:\/\//, "");
}

/** What the caller's proxy offers in its handshake is what its cluster says; in plaintext the bytes speak. */
function alpn(tls: UpstreamTls | null, http: boolean): readonly string[] {
  if (tls === null) return http ? ["http/1.1"] : [];
  return tls.alpnProtocols;
}

function accepting(snapshot: Snapshot, address: string, port: number) {
  const virtual = snapshot.listeners.get("virtualInbound");
  if (virtual !== undefined) return virtual;
  return [...snapshot.listeners.values()].find((l) => l.port === port && l.address === address) ?? null;
}
