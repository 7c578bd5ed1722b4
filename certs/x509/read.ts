/**
 * Reads the parts of a certificate that decide trust, from DER. Never from `subjectaltname` text: names can carry
 * ", " and NUL and forge other names there (CVE-2021-44531..3, CVE-2025-66220).
 */
import { X509Certificate } from "node:crypto";
import { checkKeyForm } from "./algorithms.ts";
import * as der from "./der.ts";
import { MAX_CERTIFICATE_BYTES, MAX_EXTENSIONS, MAX_NAMES } from "./limits.ts";

export interface ReadCertificate {
  der: Buffer;
  /** For signatures, issuer links, validity. */
  x509: X509Certificate;
  /** ms since the epoch. */
  notBefore: number;
  notAfter: number;
  subjectEmpty: boolean;
  signatureOid: string;
  /** URI names, raw bytes as latin1. */
  uris: string[];
  sanCritical: boolean;
  isCa: boolean;
  pathLength?: number;
  keyUsage?: { critical: boolean; digitalSignature: boolean; keyCertSign: boolean; crlSign: boolean };
  extendedKeyUsage?: string[];
  nameConstraints: boolean;
  /** Critical extensions not understood here: RFC 5280 4.2 says refuse. */
  unknownCritical: string[];
}

/** Throws when the bytes are not one DER certificate of version 3. */
export function readCertificate(bytes: Buffer): ReadCertificate {
  if (bytes.length > MAX_CERTIFICATE_BYTES)
    throw new Error(`a certificate of ${bytes.length} bytes is not accepted`);
  const parts = der.children(der.decode(bytes), "certificate");
  const tbs = der.children(parts[0], "certificate body");
  if (!der.isContext(tbs[0], 0)) throw new Error("the certificate is not X.509 version 3");
  checkKeyForm(tbs[6]);
  const x509 = new X509Certificate(bytes);
  const signatureOid = der.oidOf(der.children(parts[1], "signature algorithm")[0], "signature algorithm");
  if (!der.encode(parts[1]!).equals(der.encode(tbs[2]!)))
    throw new Error("the signature algorithm inside and outside the certificate differ"); // RFC 5280 4.1.1.2
  const cert: ReadCertificate = {
    der: bytes,
    x509,
    notBefore: x509.validFromDate.getTime(),
    notAfter: x509.validToDate.getTime(),
    subjectEmpty: der.children(tbs[5], "subject").length === 0,
    signatureOid,
    uris: [],
    sanCritical: false,
    isCa: false,
    nameConstraints: false,
    unknownCritical: [],
  };
  const holder = tbs.slice(7).find((node) => der.isContext(node, 3));
  const extensions = holder ? der.children(der.children(holder, "extensions")[0], "extensions") : [];
  if (extensions.length > MAX_EXTENSIONS)
    throw new Error(`${extensions.length} extensions are not accepted, at most ${MAX_EXTENSIONS}`);
  const seen = new Set<string>();
  for (const node of extensions) {
    const fields = der.children(node, "extension");
    const id = der.oidOf(fields[0], "extension id");
    if (seen.has(id)) throw new Error(`extension ${id} appears twice`); // RFC 5280 4.2
    seen.add(id);
    const critical = fields.length === 3 && der.booleanOf(fields[1], "critical");
    readExtension(cert, id, critical, der.bytesOf(octetsIn(fields), `extension ${id}`));
  }
  return cert;
}

// forge opens an OCTET STRING only when asked; it never does so for ours.
const octetsIn = (fields: der.Node[]): der.Node =>
  der.expectType(fields.at(-1), der.Tag.OCTETSTRING, "extension value");

function readExtension(cert: ReadCertificate, id: string, critical: boolean, value: Buffer): void {
  switch (id) {
    case "2.5.29.17": {
      cert.sanCritical = critical;
      for (const name of few(der.children(der.decode(value), "subjectAltName"), "names"))
        if (der.isContext(name, 6)) cert.uris.push(der.bytesOf(name, "URI name").toString("latin1"));
      return;
    }
    case "2.5.29.19": {
      const fields = der.children(der.decode(value), "basicConstraints");
      cert.isCa = fields[0]?.type === der.Tag.BOOLEAN && der.booleanOf(fields[0], "cA");
      const length = fields.find((field) => field.type === der.Tag.INTEGER);
      if (length) cert.pathLength = pathLength(der.bytesOf(length, "pathLen"));
      return;
    }
    case "2.5.29.15": {
      const bits = der.bytesOf(der.expectType(der.decode(value), der.Tag.BITSTRING, "keyUsage"), "keyUsage");
      const first = bits[1] ?? 0;
      cert.keyUsage = {
        critical,
        digitalSignature: (first & 0x80) !== 0,
        keyCertSign: (first & 0x04) !== 0,
        crlSign: (first & 0x02) !== 0,
      };
      return;
    }
    case "2.5.29.37":
      cert.extendedKeyUsage = few(der.children(der.decode(value), "extKeyUsage"), "purposes").map((usage) =>
        der.oidOf(usage, "extKeyUsage"),
      );
      return;
    case "2.5.29.30":
      cert.nameConstraints = true;
      return;
    default:
      if (critical) cert.unknownCritical.push(id);
  }
}

function few(nodes: der.Node[], what: string): der.Node[] {
  if (nodes.length > MAX_NAMES)
    throw new Error(`${nodes.length} ${what} are not accepted, at most ${MAX_NAMES}`);
  return nodes;
}

/** RFC 5280 4.2.1.9: not negative. More than 127 is out of reach, and refused with what is negative. */
function pathLength(bytes: Buffer): number {
  if (bytes.length !== 1 || bytes[0]! > 127) throw new Error("pathLenConstraint is not 0 to 127");
  return bytes[0]!;
}
