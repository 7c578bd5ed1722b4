import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { timerMs } from "#lib/clock.ts";
import { type Identity, type IdentityRules, identify } from "./identity.ts";
import { peerChain, secureContext, type TlsParameters, type TlsSecret } from "./secrets.ts";

export interface DownstreamTlsOptions extends TlsParameters {
  readonly requireClientCertificate: boolean;
  /** What we speak, in our order. */
  readonly alpnProtocols: readonly string[];
  readonly identity: IdentityRules;
  readonly handshakeTimeoutMs: number;
}

export interface TlsFailure {
  /** For the counter: an SVID reason, "san_mismatch", "no_certificate", "resumed", "no_secret", "timeout" or "handshake". */
  readonly reason: string;
  readonly message: string;
}

/**
 * TLS over a socket whose first bytes were peeked and put back. Calls back once: with the secured socket and the
 * proven identity ("" when no client certificate was demanded and none came), or with why not; the socket is then gone.
 */
export function acceptTls(
  socket: Socket,
  secret: TlsSecret | null,
  clientAlpn: readonly string[],
  options: DownstreamTlsOptions,
  onSecure: (secured: TLSSocket, spiffeId: string) => void,
  onFailed: (failure: TlsFailure) => void,
): void {
  if (secret === null) {
    socket.destroy();
    onFailed({
      reason: "no_secret",
      message: "no certificate yet: TLS is refused until the first one comes",
    });
    return;
  }
  // Chain selection used the client's list; the handshake uses ours. Without a common protocol Envoy goes on without
  // ALPN, Node would send a fatal alert: so the list is offered only if something matches.
  const common = options.alpnProtocols.some((protocol) => clientAlpn.includes(protocol));
  const secured = new TLSSocket(socket, {
    isServer: true,
    secureContext: secureContext(secret, options),
    requestCert: options.requireClientCertificate,
    // Node would check DNS-style and by its own path building; identify() decides below, before any byte passes.
    rejectUnauthorized: false,
    ...(common ? { ALPNProtocols: [...options.alpnProtocols] } : {}),
  });
  let settled = false;
  const fail = (reason: string, message: string): void => {
    if (settled) return;
    settled = true;
    clearTimeout(timer);
    secured.destroy();
    socket.destroy();
    onFailed({ reason, message });
  };
  const timer = setTimeout(
    () => fail("timeout", "no complete handshake in time"),
    timerMs(options.handshakeTimeoutMs),
  );
  secured.on("error", (error) => fail("handshake", error.message));
  secured.on("close", () => fail("handshake", "the peer closed during the handshake"));
  secured.on("secure", () => {
    if (settled) return;
    const identity = judge(secured, secret, options);
    if ("error" in identity) {
      fail(identity.reason, identity.error);
      return;
    }
    settled = true;
    clearTimeout(timer);
    onSecure(secured, identity.spiffeId);
  });
}

function judge(secured: TLSSocket, secret: TlsSecret, options: DownstreamTlsOptions): Identity {
  if (!options.requireClientCertificate) return { spiffeId: "" };
  if (secured.isSessionReused()) return { error: "a resumed session proves no identity", reason: "resumed" };
  const chain = peerChain(secured);
  if (chain.length === 0) return { error: "the peer sent no certificate", reason: "no_certificate" };
  return identify(chain, secret.roots, options.identity);
}
