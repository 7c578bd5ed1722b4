/** PKCS#10 requests (RFC 2986): we write the least, and read only what proves that the caller holds the key. */
import { createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { checkKeyForm, checkPublicKey, ECDSA_SHA256, signatureAlgorithm } from "./algorithms.ts";
import * as der from "./der.ts";
import { fromPem, toPem } from "./pem.ts";

/** Our own requests take 0.4 KB, an RSA 4096 one with names 2 KB. The parser never sees more than this. */
const MAX_CSR_BYTES = 8192;

/** A request signed by `privateKey` (ECDSA) with an empty subject; the CA takes only the public key from it. */
export function buildCsr(privateKey: KeyObject, uri?: string): string {
  const spki = createPublicKey(privateKey).export({ format: "der", type: "spki" });
  const attributes =
    uri === undefined
      ? []
      : [
          der.sequence(
            der.oid("1.2.840.113549.1.9.14"),
            der.set(
              der.sequence(
                der.sequence(
                  der.oid("2.5.29.17"),
                  der.boolean(true),
                  der.octets(der.encode(der.sequence(der.context(6, Buffer.from(uri))))),
                ),
              ),
            ),
          ),
        ];
  const info = der.sequence(
    der.integer(Buffer.from([0])),
    der.sequence(),
    der.decode(spki),
    der.context(0, attributes),
  );
  const signature = sign("sha256", der.encode(info), privateKey);
  const csr = der.sequence(info, der.sequence(der.oid(ECDSA_SHA256)), der.bits(signature));
  return toPem("CERTIFICATE REQUEST", der.encode(csr));
}

/**
 * The public key of a PEM request, once its self-signature holds (proof of possession). Names and extensions asked
 * for are not even read: identity comes from the caller's token. Throws with the reason.
 */
export function parseCsr(pem: string): { publicKey: KeyObject; spki: Buffer } {
  if (Buffer.byteLength(pem) > MAX_CSR_BYTES)
    throw new Error(`the CSR has ${Buffer.byteLength(pem)} bytes; the limit is ${MAX_CSR_BYTES}`);
  const blocks = fromPem("CERTIFICATE REQUEST", pem);
  if (blocks.length !== 1) throw new Error(`expected one certificate request, found ${blocks.length}`);
  const parts = der.children(
    der.expectType(der.decode(blocks[0]!), der.Tag.SEQUENCE, "certificate request"),
    "certificate request",
  );
  if (parts.length !== 3) throw new Error("a certificate request has three parts");
  const info = der.children(der.expectType(parts[0], der.Tag.SEQUENCE, "request info"), "request info");
  if (info.length !== 4 || !der.isContext(info[3], 0)) throw new Error("request info has four parts");
  if (!der.bytesOf(info[0], "version").equals(Buffer.from([0])))
    throw new Error("the request is not version 1");
  const algorithm = signatureAlgorithm(
    der.oidOf(der.children(parts[1], "signature algorithm")[0], "signature algorithm"),
  );
  checkKeyForm(info[2]);
  const spki = der.encode(der.expectType(info[2], der.Tag.SEQUENCE, "public key"));
  let publicKey: KeyObject;
  try {
    publicKey = createPublicKey({ key: spki, format: "der", type: "spki" });
  } catch {
    throw new Error(
      "the public key in the CSR cannot be read (unknown algorithm, or a point not on its curve)",
    );
  }
  checkPublicKey(publicKey);
  if (publicKey.asymmetricKeyType !== algorithm.key)
    throw new Error(`a ${publicKey.asymmetricKeyType} key cannot make the signature this CSR names`);
  const signed = der.encode(parts[0]!);
  if (!verify(algorithm.hash, signed, publicKey, der.wholeBits(parts[2], "signature")))
    throw new Error("the CSR is not signed by the key it carries (proof of possession failed)");
  return { publicKey, spki };
}
