import type { Socket } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import type { TlsFailure } from "./downstream.ts";
import { type Identity, type IdentityRules, identify } from "./identity.ts";
import { peerChain, secureContext, type TlsParameters, type TlsSecret } from "./secrets.ts";

export interface UpstreamTlsOptions extends TlsParameters {
  /** "" = none sent. */
  readonly sni: string;
  readonly alpnProtocols: readonly string[];
  readonly identity: IdentityRules;
  readonly handshakeTimeoutMs: number;
}

/** mTLS over a connected (or connecting) socket; the peer must prove one of the cluster's names. Calls back once. */
export function startTls(
  socket: Socket,
  secret: TlsSecret | null,
  options: UpstreamTlsOptions,
  onSecure: (secured: TLSSocket) => void,
  onFailed: (failure: TlsFailure) => void,
): void {
  if (secret === null) {
    socket.destroy();
    onFailed({ reason: "no_secret", message: "no certificate yet: mTLS cannot start" });
    return;
  }
  const secured = connect({
    socket,
    secureContext: secureContext(secret, options),
    // SNI of Istio names (outbound_.80_._.host) has underscores: fine for TLS, and not checked as a DNS name here.
    ...(options.sni === "" ? {} : { servername: options.sni }),
    ...(options.alpnProtocols.length === 0 ? {} : { ALPNProtocols: [...options.alpnProtocols] }),
    rejectUnauthorized: false,
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
    options.handshakeTimeoutMs,
  );
  secured.on("error", (error) => fail("handshake", error.message));
  secured.on("close", () => fail("handshake", "the peer closed during the handshake"));
  secured.on("secureConnect", () => {
    if (settled) return;
    const identity: Identity = secured.isSessionReused()
      ? { error: "a resumed session proves no identity", reason: "resumed" }
      : identify(peerChain(secured), secret.roots, options.identity);
    if ("error" in identity) {
      fail(identity.reason, identity.error);
      return;
    }
    settled = true;
    clearTimeout(timer);
    onSecure(secured);
  });
}
