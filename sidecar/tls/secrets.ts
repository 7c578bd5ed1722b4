import { constants } from "node:crypto";
import { createSecureContext, type SecureContext, type TLSSocket } from "node:tls";

/** The part of a workload secret that TLS needs; certs/workload's WorkloadSecret fits. Replaced whole on rotation. */
export interface TlsSecret {
  readonly keyPem: string;
  readonly chainPem: string;
  readonly rootsPem: string;
  readonly roots: readonly Buffer[];
}

export interface TlsParameters {
  readonly minVersion: "TLSv1.2" | "TLSv1.3";
  readonly maxVersion: "TLSv1.2" | "TLSv1.3";
  readonly cipherSuites: readonly string[];
}

// Every handshake is a full one. A bare TLSSocket has no default session id context, and a resumed session would carry
// an identity that was validated under another certificate, listener or trust bundle.
const SECURE_OPTIONS =
  constants.SSL_OP_NO_TICKET |
  constants.SSL_OP_NO_RENEGOTIATION |
  constants.SSL_OP_NO_COMPRESSION |
  constants.SSL_OP_CIPHER_SERVER_PREFERENCE;

const ECDHE_GCM =
  "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256";
const TLS13 = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";

// One context per (secret, parameters): a rotated secret is a new object, so the next handshake gets a new context.
const contexts = new WeakMap<TlsSecret, Map<string, SecureContext>>();

/** Made once per secret and parameters: no tickets, no renegotiation, and forward secrecy always. */
export function secureContext(secret: TlsSecret, parameters: TlsParameters): SecureContext {
  let ofSecret = contexts.get(secret);
  if (ofSecret === undefined) {
    ofSecret = new Map();
    contexts.set(secret, ofSecret);
  }
  const key = `${parameters.minVersion}|${parameters.maxVersion}|${parameters.cipherSuites.join(":")}`;
  let context = ofSecret.get(key);
  if (context === undefined) {
    context = createSecureContext({
      key: secret.keyPem,
      cert: secret.chainPem,
      ca: secret.rootsPem,
      minVersion: parameters.minVersion,
      maxVersion: parameters.maxVersion,
      ciphers: `${TLS13}:${forwardSecret(parameters.cipherSuites)}`,
      secureOptions: SECURE_OPTIONS,
      sessionIdContext: "weft-mesh",
    });
    ofSecret.set(key, context);
  }
  return context;
}

// istiod's list ends in static-RSA suites; without forward secrecy they are not offered here.
function forwardSecret(suites: readonly string[]): string {
  const kept = suites.filter((suite) => suite.startsWith("ECDHE-"));
  return kept.length > 0 ? kept.join(":") : ECDHE_GCM;
}

/** One more than is accepted, so that the judge sees that there are too many. */
const MAX_READ = 12;

/**
 * The peer's certificates as DER, in the order sent, leaf first. Empty if it sent none. To be called once per
 * connection: Node takes the chain out of the session. (`getPeerCertificate` would write out every name and number of
 * every certificate, as many as the peer likes.)
 */
export function peerChain(socket: TLSSocket): Buffer[] {
  const chain: Buffer[] = [];
  for (
    let at = socket.getPeerX509Certificate();
    at !== undefined && chain.length < MAX_READ;
    at = at.issuerCertificate
  )
    chain.push(at.raw);
  return chain;
}
