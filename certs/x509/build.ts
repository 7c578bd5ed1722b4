/** Writes certificates: the two shapes a mesh needs, a self-signed root and a workload leaf (X509-SVID.md, RFC 5280). */
import { createHash, createPublicKey, type KeyObject, randomBytes, sign } from "node:crypto";
import { ECDSA_SHA256 } from "./algorithms.ts";
import * as der from "./der.ts";

interface Validity {
  /** ms since the epoch; certificates count in seconds. */
  notBefore: number;
  notAfter: number;
}

const extension = (id: string, critical: boolean, value: der.Node): der.Node =>
  der.sequence(der.oid(id), ...(critical ? [der.boolean(true)] : []), der.octets(der.encode(value)));
const san = (uri: string, critical: boolean): der.Node =>
  extension("2.5.29.17", critical, der.sequence(der.context(6, Buffer.from(uri))));

/** RFC 5280 4.2.1.2 method 1, over the key bits. */
function keyId(spki: Buffer): Buffer {
  const key = der.wholeBits(der.children(der.decode(spki), "public key")[1], "public key bits");
  return createHash("sha1").update(key).digest();
}

/** 128 random bits, top bit clear and never zero: positive, and 16 bytes in every certificate. */
function serial(): Buffer {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x3f) | 0x40;
  return bytes;
}

function signed(
  fields: { issuer: der.Node; subject: der.Node; spki: Buffer; extensions: der.Node[] } & Validity,
  key: KeyObject,
): Buffer {
  const algorithm = der.sequence(der.oid(ECDSA_SHA256));
  const tbs = der.sequence(
    der.context(0, [der.integer(Buffer.from([2]))]),
    der.integer(serial()),
    algorithm,
    fields.issuer,
    der.sequence(der.time(fields.notBefore), der.time(fields.notAfter)),
    fields.subject,
    der.decode(fields.spki),
    der.context(3, [der.sequence(...fields.extensions)]),
  );
  return der.encode(der.sequence(tbs, algorithm, der.bits(sign("sha256", der.encode(tbs), key))));
}

const organisation = (name: string): der.Node =>
  der.sequence(der.set(der.sequence(der.oid("2.5.4.10"), der.utf8(name))));

/** DER of a root for `trustDomain`, as istiod's self-signed one: O=<trust domain>, here with the SPIFFE ID besides. */
export function buildRoot(key: KeyObject, trustDomain: string, validity: Validity): Buffer {
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  const name = organisation(trustDomain);
  return signed(
    {
      ...validity,
      issuer: name,
      subject: name,
      spki,
      extensions: [
        extension("2.5.29.19", true, der.sequence(der.boolean(true))),
        extension("2.5.29.15", true, der.bits(Buffer.from([0x06]), 1)), // keyCertSign, cRLSign
        extension("2.5.29.14", false, der.octets(keyId(spki))),
        san(`spiffe://${trustDomain}`, false),
      ],
    },
    key,
  );
}

/** DER of a workload certificate whose only name is the critical SAN; `signer.der` is the certificate of `signer.key`. */
export function buildLeaf(
  signer: { der: Buffer; key: KeyObject },
  leaf: { spki: Buffer; spiffeId: string } & Validity,
): Buffer {
  const tbs = der.children(der.children(der.decode(signer.der), "signer")[0], "signer");
  const signerSpki = createPublicKey(signer.key).export({ format: "der", type: "spki" });
  return signed(
    {
      notBefore: leaf.notBefore,
      notAfter: leaf.notAfter,
      issuer: tbs[5]!,
      subject: der.sequence(),
      spki: leaf.spki,
      extensions: [
        extension("2.5.29.15", true, der.bits(Buffer.from([0x80]), 7)), // digitalSignature
        extension(
          "2.5.29.37",
          false,
          der.sequence(der.oid("1.3.6.1.5.5.7.3.1"), der.oid("1.3.6.1.5.5.7.3.2")), // serverAuth, clientAuth
        ),
        extension("2.5.29.19", true, der.sequence()),
        extension("2.5.29.35", false, der.sequence(der.context(0, keyId(signerSpki)))),
        san(leaf.spiffeId, true),
      ],
    },
    signer.key,
  );
}
