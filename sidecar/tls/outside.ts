/** TLS to a server outside of the mesh: it proves its name to us by a public or a given CA, we prove nothing to it. */
import { readFileSync, statSync } from "node:fs";
import {
  checkServerIdentity,
  connect,
  createSecureContext,
  getCACertificates,
  type PeerCertificate,
  type SecureContext,
  type TLSSocket,
} from "node:tls";
import { readCertificate } from "#certs/x509/index.ts";
import type { Roots } from "../snapshot.ts";
import type { TlsFailure } from "./downstream.ts";
import type { NameMatcher } from "./identity.ts";
import { type ConnectTo, untilSecure } from "./upstream.ts";

export interface OutsideTlsOptions {
  readonly roots: Roots;
  /** "" = none sent. */
  readonly sni: string;
  readonly alpnProtocols: readonly string[];
  /** One must be a name of the certificate; none: `sni` must. */
  readonly names: readonly NameMatcher[];
  readonly minVersion: "TLSv1.2" | "TLSv1.3";
  readonly maxVersion: "TLSv1.2" | "TLSv1.3";
  readonly handshakeTimeoutMs: number;
}

/** Calls back once, unless what it returns is called before: that gives it up. */
export function startOutsideTls(
  to: ConnectTo,
  options: OutsideTlsOptions,
  onSecure: (secured: TLSSocket) => void,
  onFailed: (failure: TlsFailure) => void,
): () => void {
  let context: SecureContext;
  try {
    context = contextOf(options.roots);
  } catch (problem) {
    onFailed({ reason: "no_roots", message: (problem as Error).message });
    return () => {};
  }
  const secured = connect({
    ...to,
    secureContext: context,
    minVersion: options.minVersion,
    maxVersion: options.maxVersion,
    ...(options.sni === "" ? {} : { servername: options.sni }),
    ...(options.alpnProtocols.length === 0 ? {} : { ALPNProtocols: [...options.alpnProtocols] }),
    rejectUnauthorized: options.roots.kind !== "any",
    checkServerIdentity: (_host, certificate) => {
      const wanted = options.names.length > 0 ? options.names.map((name) => name.text) : [options.sni];
      const why = wanted.map((name) =>
        name.includes("://") ? uriMismatch(name, certificate) : checkServerIdentity(name, certificate),
      );
      return why.includes(undefined) ? undefined : why[0];
    },
  });
  // Node has checked chain and name before it says that the connection is secure.
  return untilSecure(secured, to, options.handshakeTimeoutMs, () => null, onSecure, onFailed);
}

/** Node knows DNS names and addresses; a SPIFFE ID is a URI. */
function uriMismatch(name: string, { raw }: PeerCertificate): Error | undefined {
  try {
    if (readCertificate(raw).uris.includes(name)) return undefined;
  } catch {
    // Of a form that no workload of a mesh has.
  }
  return new Error(`${name} is no name of the server's certificate`);
}

/** By path; a file that has changed is read again. */
const contexts = new Map<string, { readonly stamp: number; readonly context: SecureContext }>();

function contextOf(roots: Roots): SecureContext {
  const path = roots.kind === "file" ? roots.path : "";
  const stamp = roots.kind === "file" ? statSync(path).mtimeMs : 0;
  const key = `${roots.kind} ${path}`;
  const known = contexts.get(key);
  if (known !== undefined && known.stamp === stamp) return known.context;
  const context = createSecureContext(
    roots.kind === "file" ? { ca: readFileSync(path) } : roots.kind === "system" ? { ca: systemRoots() } : {},
  );
  contexts.set(key, { stamp, context });
  return context;
}

function systemRoots(): string[] {
  const system = getCACertificates("system");
  return system.length > 0 ? system : getCACertificates("bundled");
}
