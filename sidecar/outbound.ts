import { connect, type OnReadOpts } from "node:net";
import type { Duplex } from "node:stream";
import { timerMs } from "#lib/clock.ts";
import { chooseTransport } from "./cluster/balancer.ts";
import { trustDomainsOf } from "./inbound.ts";
import type { Cluster, Host } from "./snapshot.ts";
import { http1Only } from "./tls/alpn.ts";
import { startOutsideTls } from "./tls/outside.ts";
import type { TlsSecret } from "./tls/secrets.ts";
import { startTls } from "./tls/upstream.ts";

export interface UpstreamFailure {
  /** Envoy's response flag: UF = connection failure or refused identity. */
  readonly flag: "UF";
  readonly message: string;
}

/** How a connection is made, whatever is spoken on it. */
export interface UpstreamOptions {
  readonly secret: TlsSecret | null;
  readonly trustDomain: string;
  /** Instead of the cluster's, or null. */
  readonly alpnProtocols: readonly string[] | null;
  /** http1/ will speak on it, so nothing else may be agreed on. */
  readonly http1: boolean;
  /** Read by callback instead of as a stream (http1/read-buffer.ts), or null. */
  readonly onread: OnReadOpts | null;
}

/**
 * Opens a connection to a host as its cluster says: source address, timeout, keep-alive, mTLS with secure naming.
 * Calls back once, unless the function that it returns is called before: that gives the dialling up. The stream is
 * ready for bytes; `alpn` is the protocol agreed on, or "".
 */
export function connectUpstream(
  cluster: Cluster,
  host: Host,
  options: UpstreamOptions,
  onOpen: (stream: Duplex, alpn: string) => void,
  onFailed: (failure: UpstreamFailure) => void,
): () => void {
  const where = host.pipe ?? `${host.address}:${host.port}`;
  const failed = (message: string): void =>
    onFailed({ flag: "UF", message: `${cluster.name} at ${where}: ${message}` });
  const to = {
    ...(host.pipe === null ? { host: host.address, port: host.port } : { path: host.pipe }),
    ...(cluster.sourceAddress === null || host.pipe !== null ? {} : { localAddress: cluster.sourceAddress }),
    ...(options.onread === null ? {} : { onread: options.onread }),
    allowHalfOpen: true,
    noDelay: true,
    ...(cluster.tcpKeepalive === null
      ? {}
      : { keepAlive: true, keepAliveInitialDelay: cluster.tcpKeepalive.timeSeconds * 1000 }),
  };
  const { tls } = chooseTransport(cluster, host);
  if (tls !== null) {
    const offered = options.alpnProtocols ?? tls.alpnProtocols;
    const { roots, subjectAltNames: names } = tls.validation;
    if (roots.kind !== "mesh")
      return startOutsideTls(
        to,
        {
          roots,
          names,
          sni: tls.sni,
          alpnProtocols: options.http1 ? http1Only(tls.alpnProtocols) : tls.alpnProtocols,
          minVersion: tls.minVersion,
          maxVersion: tls.maxVersion,
          handshakeTimeoutMs: cluster.connectTimeoutMs,
        },
        (secured) => onOpen(secured, secured.alpnProtocol || ""),
        (failure) => failed(failure.message),
      );
    return startTls(
      to,
      options.secret,
      {
        minVersion: tls.minVersion,
        maxVersion: tls.maxVersion,
        cipherSuites: tls.cipherSuites,
        sni: tls.sni,
        alpnProtocols: options.http1 ? http1Only(offered) : offered,
        handshakeTimeoutMs: cluster.connectTimeoutMs,
        identity: {
          trustDomains: trustDomainsOf(tls, options.trustDomain),
          names,
        },
      },
      (secured) => onOpen(secured, secured.alpnProtocol || ""),
      (failure) => failed(failure.message),
    );
  }
  const socket = connect(to);
  let settled = false;
  const giveUp = (): boolean => {
    if (settled) return false;
    settled = true;
    clearTimeout(timer);
    socket.destroy();
    return true;
  };
  const fail = (message: string): void => {
    if (giveUp()) failed(message);
  };
  const timer = setTimeout(() => fail("no connection in time"), timerMs(cluster.connectTimeoutMs));
  socket.on("error", (error) => fail(error.message));
  socket.once("connect", () => {
    if (settled) return;
    settled = true;
    clearTimeout(timer);
    onOpen(socket, "");
  });
  return giveUp;
}
