import type { Duplex } from "node:stream";
import { pickHost } from "../cluster/balancer.ts";
import { connectUpstream } from "../outbound.ts";
import type { Cluster } from "../snapshot.ts";
import type { TlsSecret } from "../tls/secrets.ts";

/** A connection to a collector, made as those of requests are: mTLS, source address, load balancing of its cluster. */
export function connectCollector(
  cluster: Cluster | undefined,
  secret: TlsSecret | null,
  trustDomain: string,
): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    if (cluster === undefined) throw new Error("the tracing provider's cluster is not known");
    const host = pickHost(cluster);
    if (host === null) throw new Error(`cluster ${cluster.name} has no host that takes traffic`);
    connectUpstream(
      cluster,
      host,
      { secret, trustDomain, alpnProtocols: null, http1: false, onread: null },
      (stream) => resolve(stream),
      (failure) => reject(new Error(failure.message)),
    );
  });
}
