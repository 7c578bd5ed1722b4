import type { OnReadOpts } from "node:net";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { timerMs } from "#lib/clock.ts";
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

/** Where to, and how to connect and read: `net.connect` options. */
export type ConnectTo = Pick<ConnectionOptions, "host" | "port" | "path"> & {
  readonly allowHalfOpen?: boolean;
  readonly localAddress?: string;
  readonly noDelay?: boolean;
  readonly keepAlive?: boolean;
  readonly keepAliveInitialDelay?: number;
  readonly onread?: OnReadOpts;
};

/**
 * Connects with mTLS; the peer must prove one of the cluster's names. Calls back once, unless what it returns is called
 * before: that gives it up.
 */
export function startTls(
  to: ConnectTo,
  secret: TlsSecret | null,
  options: UpstreamTlsOptions,
  onSecure: (secured: TLSSocket) => void,
  onFailed: (failure: TlsFailure) => void,
): () => void {
  if (secret === null) {
    onFailed({ reason: "no_secret", message: "no certificate yet: mTLS cannot start" });
    return () => {};
  }
  const secured = connect({
    ...to,
    secureContext: secureContext(secret, options),
    // SNI of Istio names (outbound_.80_._.host) has underscores: fine for TLS, and not checked as a DNS name here.
    ...(options.sni === "" ? {} : { servername: options.sni }),
    ...(options.alpnProtocols.length === 0 ? {} : { ALPNProtocols: [...options.alpnProtocols] }),
    rejectUnauthorized: false,
  });
  return untilSecure(
    secured,
    to,
    options.handshakeTimeoutMs,
    () => {
      const identity: Identity = secured.isSessionReused()
        ? { error: "a resumed session proves no identity", reason: "resumed" }
        : identify(peerChain(secured), secret.roots, options.identity);
      return "error" in identity ? { reason: identity.reason, message: identity.error } : null;
    },
    onSecure,
    onFailed,
  );
}

/** Waits for the end of a handshake; `judge` says why the peer is not wanted all the same. Returns how to give it up. */
export function untilSecure(
  secured: TLSSocket,
  to: ConnectTo,
  timeoutMs: number,
  judge: () => TlsFailure | null,
  onSecure: (secured: TLSSocket) => void,
  onFailed: (failure: TlsFailure) => void,
): () => void {
  let settled = false;
  const giveUp = (): boolean => {
    if (settled) return false;
    settled = true;
    clearTimeout(timer);
    secured.destroy();
    return true;
  };
  const fail = (reason: string, message: string): void => {
    if (giveUp()) onFailed({ reason, message });
  };
  const timer = setTimeout(
    () => fail("timeout", "no connection and complete handshake in time"),
    timerMs(timeoutMs),
  );
  secured.on("error", (error) => fail("handshake", error.message));
  secured.on("close", () => fail("handshake", "the peer closed during the handshake"));
  // tls.connect takes no socket options but these of a connected one (Node 24).
  secured.once("connect", () => {
    secured.setNoDelay(to.noDelay === true);
    if (to.keepAlive === true) secured.setKeepAlive(true, to.keepAliveInitialDelay);
  });
  secured.on("secureConnect", () => {
    if (settled) return;
    const failure = judge();
    if (failure !== null) {
      fail(failure.reason, failure.message);
      return;
    }
    settled = true;
    clearTimeout(timer);
    onSecure(secured);
  });
  return giveUp;
}
