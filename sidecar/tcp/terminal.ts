import { pickHost } from "../cluster/balancer.ts";
import { newHost } from "../cluster/hosts.ts";
import type { Accepted } from "../inbound.ts";
import { connectUpstream } from "../outbound.ts";
import type { Cluster, Host, Snapshot, TcpConfig, WeightedCluster } from "../snapshot.ts";
import type { TlsSecret } from "../tls/secrets.ts";
import { TcpProxy, type TcpResult } from "./proxy.ts";

export interface TcpEnd {
  readonly cluster: string;
  readonly host: Host | null;
  /** Envoy's response flag: "-", NC (no cluster), UH (no healthy host) or UF (connection failed). */
  readonly flag: "-" | "NC" | "UH" | "UF";
  readonly result: TcpResult | null;
  readonly message: string;
  /** Envoy's CONNECTION_TERMINATION_DETAILS: why we closed it, or "". */
  readonly termination: string;
}

/** Hears of one connection; never decides. */
export interface TcpObserver {
  onOpen(cluster: Cluster, host: Host, proxy: TcpProxy): void;
  onEnd(end: TcpEnd): void;
}

/** One connection that is being served. */
export interface TcpSession {
  /** Ends it, both sides, whatever it is at. */
  end(termination: string): void;
}

/** tcp_proxy: a weighted cluster, a host of it, and the two streams joined until both have ended. */
export function serveTcp(
  accepted: Pick<Accepted, "stream" | "facts" | "listener">,
  config: TcpConfig,
  snapshot: Snapshot,
  secret: TlsSecret | null,
  trustDomain: string,
  observer: TcpObserver,
): TcpSession {
  const downstream = accepted.stream;
  const name = pickWeighted(config.clusters, Math.random);
  let termination = "";
  const ended = (flag: TcpEnd["flag"], host: Host | null, message: string, result: TcpResult | null): void =>
    observer.onEnd({ cluster: name, host, flag, result, message, termination });
  const fail = (flag: TcpEnd["flag"], message: string, host: Host | null = null): TcpSession => {
    downstream.destroy();
    ended(flag, host, message, null);
    return ENDED;
  };
  const cluster = snapshot.clusters.get(name);
  if (cluster === undefined) return fail("NC", `no cluster "${name}"`);
  const host = cluster.type === "ORIGINAL_DST" ? originalHost(accepted) : pickHost(cluster);
  if (host === null) return fail("UH", `cluster ${name} has no host that takes traffic`);
  // A client that goes while the host is dialled takes the dialling along.
  let cancel = (): void => {};
  const gone = (): void => {
    cancel();
    ended("-", host, "", null);
  };
  downstream.once("close", gone);
  cancel = connectUpstream(
    cluster,
    host,
    { secret, trustDomain, alpnProtocols: null, http1: false, onread: null },
    (upstream) => {
      downstream.off("close", gone);
      host.activeConnections++;
      const options = { idleTimeoutMs: config.idleTimeoutMs };
      const proxy = new TcpProxy(downstream, upstream, options, (result) => {
        host.activeConnections--;
        ended("-", host, "", result);
      });
      observer.onOpen(cluster, host, proxy);
    },
    (failure) => {
      downstream.off("close", gone);
      fail(failure.flag, failure.message, host);
    },
  );
  return {
    end: (why) => {
      termination = why;
      downstream.destroy();
    },
  };
}

const ENDED: TcpSession = { end: () => {} };

/** Where the client meant to go; null when that is this proxy, which would call itself without end. */
function originalHost({ listener, facts }: Pick<Accepted, "facts" | "listener">): Host | null {
  if (listener.bindToPort && !listener.restoresOriginalDst) return null;
  return newHost({ address: facts.destinationAddress, port: facts.destinationPort, pipe: null });
}

/** One cluster by weight; "" if there is none. */
export function pickWeighted(clusters: readonly WeightedCluster[], random: () => number): string {
  let total = 0;
  for (const cluster of clusters) total += cluster.weight;
  let at = random() * total;
  for (const cluster of clusters) {
    at -= cluster.weight;
    if (at < 0) return cluster.name;
  }
  return clusters.at(-1)?.name ?? "";
}
