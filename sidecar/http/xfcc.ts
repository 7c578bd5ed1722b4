/** One element of x-forwarded-client-cert, as Envoy writes it: what the peer's certificate says, and to whom it was shown. */
import { createHash, type X509Certificate } from "node:crypto";
import type { HttpConfig } from "../snapshot.ts";

/** Longest chain that is told; the longest that is verified is shorter. */
const MAX_CHAIN = 16;

/**
 * @param certificate of the peer; null: not known
 * @param by our own SPIFFE id, or ""
 * @param uris proven identities of the peer
 */
export function xfccElement(
  certificate: X509Certificate | null,
  by: string,
  uris: readonly string[],
  details: HttpConfig["setCurrentClientCertDetails"],
): string {
  const parts: string[] = [];
  if (by !== "") parts.push(`By=${by}`);
  if (certificate !== null) {
    parts.push(`Hash=${createHash("sha256").update(certificate.raw).digest("hex")}`);
    if (details.cert) parts.push(`Cert="${encodeURIComponent(certificate.toString())}"`);
    if (details.chain) parts.push(`Chain="${encodeURIComponent(chainOf(certificate))}"`);
  }
  if (details.subject) parts.push(`Subject="${certificate === null ? "" : subjectOf(certificate)}"`);
  if (details.uri) for (const uri of uris) parts.push(`URI=${uri}`);
  if (details.dns && certificate !== null)
    for (const name of dnsNamesOf(certificate)) parts.push(`DNS=${name}`);
  return parts.join(";");
}

function chainOf(leaf: X509Certificate): string {
  let text = "";
  let next: X509Certificate | undefined = leaf;
  for (let i = 0; i < MAX_CHAIN && next !== undefined; i++) {
    text += next.toString();
    const issuer: X509Certificate | undefined = next.issuerCertificate;
    next = issuer?.fingerprint256 === next.fingerprint256 ? undefined : issuer;
  }
  return text;
}

/** RFC 2253: last first. Node gives one attribute a line, its special characters escaped already. */
function subjectOf({ subject }: X509Certificate): string {
  return (subject ?? "").split("\n").reverse().join(",");
}

/** Names that could be taken for another field are left out; Node puts such in quotes. */
function dnsNamesOf({ subjectAltName }: X509Certificate): string[] {
  return [...(subjectAltName ?? "").matchAll(/(?:^|, )DNS:([\w*.-]+)(?=, |$)/g)].map(([, name]) => name!);
}
