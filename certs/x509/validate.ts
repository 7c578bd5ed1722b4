/** X.509-SVID validation (X509-SVID.md section 5, RFC 5280 section 6) of a peer's chain against the mesh's roots. */
import { parseSpiffeId } from "../spiffe.ts";
import { checkPublicKey, signatureAlgorithm } from "./algorithms.ts";
import { MAX_CHAIN_BYTES, MAX_CHAIN_CERTIFICATES, MAX_SIGNATURES } from "./limits.ts";
import { findPath } from "./path.ts";
import { type ReadCertificate, readCertificate } from "./read.ts";

/** Why a peer was refused, for counters; `error` beside it is the sentence for the log. */
export type SvidReason =
  | "malformed"
  | "expired"
  | "not_yet_valid"
  | "unknown_ca"
  | "bad_usage"
  | "bad_identity"
  | "trust_domain";
export type SvidResult = { spiffeId: string; notAfter: number } | { error: string; reason: SvidReason };

const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";

class Refused extends Error {
  readonly reason: SvidReason;
  constructor(reason: SvidReason, message: string) {
    super(message);
    this.reason = reason;
  }
}

/**
 * The peer's identity, or why it has none. `chain` is leaf first, the rest in any order, as TLS 1.3 permits;
 * `trustDomains` is the mesh's own and its aliases, compared exactly. Times in ms; there is no tolerance after notAfter.
 */
export function validateSvid(
  chain: readonly Buffer[],
  roots: readonly Buffer[],
  trustDomains: string | readonly string[],
  now: number = Date.now(),
): SvidResult {
  try {
    checkExtent(chain);
    if (roots.length === 0) throw new Refused("unknown_ca", "there is no trust bundle yet");
    const leaf = read(chain[0]!);
    const accepted = typeof trustDomains === "string" ? [trustDomains] : trustDomains;
    const spiffeId = checkLeaf(leaf, accepted, now);
    const others = chain.slice(1).map(readOrSkip).filter(isRead);
    const path = findPath(leaf, others, anchorsOf(roots), (issuer, below, isRoot) =>
      checkIssuer(issuer, below, accepted, now, isRoot),
    );
    if ("failure" in path) throw whyNot(path);
    return { spiffeId, notAfter: leaf.notAfter };
  } catch (problem) {
    if (problem instanceof Refused) return { error: problem.message, reason: problem.reason };
    throw problem;
  }
}

function read(bytes: Buffer): ReadCertificate {
  try {
    return readCertificate(bytes);
  } catch (problem) {
    throw new Refused("malformed", `the certificate cannot be read: ${(problem as Error).message}`);
  }
}

/** Extra certificates a peer sends may be anything: unreadable ones lead nowhere. */
function readOrSkip(bytes: Buffer): ReadCertificate | undefined {
  try {
    return readCertificate(bytes);
  } catch {
    return undefined;
  }
}

const isRead = (cert: ReadCertificate | undefined): cert is ReadCertificate => cert !== undefined;

/** A bundle is replaced whole when it changes: its certificates are read once, not at every handshake. */
const anchors = new WeakMap<readonly Buffer[], readonly ReadCertificate[]>();
function anchorsOf(roots: readonly Buffer[]): readonly ReadCertificate[] {
  let known = anchors.get(roots);
  if (known === undefined) {
    known = roots.map(readOrSkip).filter(isRead);
    anchors.set(roots, known);
  }
  return known;
}

function checkExtent(chain: readonly Buffer[]): void {
  if (chain.length === 0) throw new Refused("malformed", "the peer sent no certificate");
  if (chain.length > MAX_CHAIN_CERTIFICATES)
    throw new Refused("malformed", `the peer sent more than ${MAX_CHAIN_CERTIFICATES} certificates`);
  let bytes = 0;
  for (const cert of chain) bytes += cert.length;
  if (bytes > MAX_CHAIN_BYTES)
    throw new Refused(
      "malformed",
      `the peer sent certificates of ${bytes} bytes; the limit is ${MAX_CHAIN_BYTES}`,
    );
}

/** The most telling failure of any way; "unknown CA" only if nothing at all issued the leaf. */
function whyNot(path: { readonly failure: unknown; readonly gaveUp: boolean }): unknown {
  if (path.failure !== undefined) return path.failure;
  if (!path.gaveUp) return new Refused("unknown_ca", "no root of the mesh leads to the peer's certificate");
  return new Refused(
    "malformed",
    `the peer's certificates need more than ${MAX_SIGNATURES} signatures to find a root`,
  );
}

function checkCommon(cert: ReadCertificate, what: string, now: number): void {
  if (now < cert.notBefore)
    throw new Refused(
      "not_yet_valid",
      `${what} is valid only from ${new Date(cert.notBefore).toISOString()}`,
    );
  if (now > cert.notAfter)
    throw new Refused("expired", `${what} expired at ${new Date(cert.notAfter).toISOString()}`);
  if (cert.unknownCritical.length > 0)
    throw new Refused(
      "bad_usage",
      `${what} has critical extension ${cert.unknownCritical[0]}, which is not understood`,
    );
  try {
    signatureAlgorithm(cert.signatureOid);
    checkPublicKey(cert.x509.publicKey);
  } catch (problem) {
    throw new Refused("bad_usage", `${what}: ${(problem as Error).message}`);
  }
  if (!cert.keyUsage?.critical) throw new Refused("bad_usage", `${what} has no critical keyUsage`);
}

function checkLeaf(leaf: ReadCertificate, trustDomains: readonly string[], now: number): string {
  const what = "the peer's certificate";
  if (leaf.uris.length !== 1)
    throw new Refused("bad_identity", `${what} has ${leaf.uris.length} URI names; an SVID has exactly one`);
  const id = parseSpiffeId(leaf.uris[0]!);
  if ("error" in id) throw new Refused("bad_identity", id.error);
  if (leaf.isCa) throw new Refused("bad_usage", `${what} is a CA certificate; a CA must not authenticate`);
  if (id.path === "") throw new Refused("bad_identity", `${what} names a trust domain, not a workload`);
  if (leaf.subjectEmpty && !leaf.sanCritical)
    throw new Refused("bad_usage", `${what} has an empty subject and a subjectAltName that is not critical`);
  checkCommon(leaf, what, now);
  if (!leaf.keyUsage!.digitalSignature)
    throw new Refused("bad_usage", `${what} lacks keyUsage digitalSignature`);
  if (leaf.keyUsage!.keyCertSign || leaf.keyUsage!.crlSign)
    throw new Refused("bad_usage", `${what} may sign certificates or CRLs; an SVID leaf must not`);
  const eku = leaf.extendedKeyUsage;
  if (eku !== undefined && !(eku.includes(SERVER_AUTH) && eku.includes(CLIENT_AUTH)))
    throw new Refused(
      "bad_usage",
      `${what} limits its use to ${eku.join(", ")}; serverAuth and clientAuth must both be there`,
    );
  if (leaf.nameConstraints)
    throw new Refused("bad_usage", `${what} carries nameConstraints, which only a CA may`);
  if (!trustDomains.includes(id.trustDomain))
    throw new Refused("trust_domain", `trust domain ${id.trustDomain} is not ${trustDomains.join(" or ")}`);
  return leaf.uris[0]!;
}

/** `below`: CA certificates between this one and the leaf. */
function checkIssuer(
  ca: ReadCertificate,
  below: number,
  trustDomains: readonly string[],
  now: number,
  anchor: boolean,
): void {
  const what = anchor ? "the root" : "an intermediate";
  checkCommon(ca, what, now);
  if (!ca.isCa || !ca.keyUsage!.keyCertSign)
    throw new Refused("bad_usage", `${what} may not sign certificates`);
  if (ca.pathLength !== undefined && below > ca.pathLength)
    throw new Refused(
      "bad_usage",
      `${what} permits ${ca.pathLength} CA certificates below it, there are ${below}`,
    );
  // Not evaluated here, so not accepted: a constraint read as absent is CVE-2022-21656.
  if (ca.nameConstraints)
    throw new Refused("bad_usage", `${what} carries nameConstraints, which are not supported`);
  if (ca.uris.length > 1) throw new Refused("bad_identity", `${what} has ${ca.uris.length} URI names`);
  for (const uri of ca.uris) {
    const id = parseSpiffeId(uri);
    if ("error" in id) throw new Refused("bad_identity", `${what}: ${id.error}`);
    if (id.path !== "") throw new Refused("bad_identity", `${what} carries the workload id ${uri}`);
    if (!trustDomains.includes(id.trustDomain))
      throw new Refused("trust_domain", `${what} belongs to trust domain ${id.trustDomain}`);
  }
}
