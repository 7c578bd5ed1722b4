import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { chooseTransport } from "./cluster/balancer.ts";
import { trustDomainsOf } from "./inbound.ts";
import type { Cluster, Host } from "./snapshot.ts";
import type { TlsSecret } from "./tls/secrets.ts";
import { startTls } from "./tls/upstream.ts";

export interface UpstreamFailure {
  /** Envoy's response flag: UF = connection failure or refused identity. */
  readonly flag: "UF";
  readonly message: string;
}

/**
 * Opens a connection to a host as its cluster says: source address, timeout, keep-alive, mTLS with secure naming.
 * Calls back once. The stream is ready for bytes; `alpn` is the protocol agreed on, or "".
 */
export function connectUpstream(
  cluster: Cluster,
  host: Host,
  secret: TlsSecret | null,
  trustDomain: string,
  alpnProtocols: readonly string[] | null,
  onOpen: (stream: Duplex, alpn: string) => void,
  onFailed: (failure: UpstreamFailure) => void,
): void {
  const where = host.pipe ?? `${host.address}:${host.port}`;
  const socket: Socket =
    host.pipe === null
      ? connect({
          host: host.address,
          port: host.port,
          allowHalfOpen: true,
          noDelay: true,
          ...(cluster.sourceAddress === null ? {} : { localAddress: cluster.sourceAddress }),
        })
      : connect({ path: host.pipe, allowHalfOpen: true });
  let settled = false;
  const fail = (message: string): void => {
    if (settled) return;
    settled = true;
    clearTimeout(timer);
    socket.destroy();
    onFailed({ flag: "UF", message: `${cluster.name} at ${where}: ${message}` });
  };
  const timer = setTimeout(() => fail("no connection in time"), cluster.connectTimeoutMs);
  socket.on("error", (error) => fail(error.message));
  socket.once("connect", () => {
    if (settled) return;
    clearTimeout(timer);
    if (cluster.tcpKeepalive !== null) socket.setKeepAlive(true, cluster.tcpKeepalive.timeSeconds * 1000);
    const tls = chooseTransport(cluster, host).tls;
    if (tls === null) {
      settled = true;
      onOpen(socket, "");
      return;
    }
    startTls(
      socket,
      secret,
      {
        minVersion: tls.minVersion,
        maxVersion: tls.maxVersion,
        cipherSuites: tls.cipherSuites,
        sni: tls.sni,
        alpnProtocols: alpnProtocols ?? tls.alpnProtocols,
        handshakeTimeoutMs: cluster.connectTimeoutMs,
        identity: { trustDomains: trustDomainsOf(tls, trustDomain), names: tls.validation.subjectAltNames },
      },
      (secured) => {
        settled = true;
        onOpen(secured, secured.alpnProtocol || "");
      },
      (failure) => fail(failure.message),
    );
  });
}
