/** Keys and signatures we accept: ECDSA P-256/P-384 and RSA 2048-4096, with SHA-2. Istio's set, less the small RSA. */
import type { KeyObject } from "node:crypto";
import * as der from "./der.ts";

const SIGNATURES: Record<string, { hash: string; key: "ec" | "rsa" }> = {
  "1.2.840.10045.4.3.2": { hash: "sha256", key: "ec" },
  "1.2.840.10045.4.3.3": { hash: "sha384", key: "ec" },
  "1.2.840.10045.4.3.4": { hash: "sha512", key: "ec" },
  "1.2.840.113549.1.1.11": { hash: "sha256", key: "rsa" },
  "1.2.840.113549.1.1.12": { hash: "sha384", key: "rsa" },
  "1.2.840.113549.1.1.13": { hash: "sha512", key: "rsa" },
};
export const ECDSA_SHA256 = "1.2.840.10045.4.3.2";

/** Throws for what is not accepted, such as SHA-1, Ed25519, RSA-PSS. */
export function signatureAlgorithm(oid: string): { hash: string; key: "ec" | "rsa" } {
  const found = Object.hasOwn(SIGNATURES, oid) ? SIGNATURES[oid] : undefined;
  if (found === undefined)
    throw new Error(`signature algorithm ${oid} is not accepted; use ECDSA or RSA with SHA-2`);
  return found;
}

const EC_PUBLIC_KEY = "1.2.840.10045.2.1";
const RSA_ENCRYPTION = "1.2.840.113549.1.1.1";
/** Curves by OID, and the bytes of an uncompressed point on each. */
const POINT_BYTES: Record<string, number> = { "1.2.840.10045.3.1.7": 65, "1.3.132.0.34": 97 };

/**
 * Throws unless a SubjectPublicKeyInfo has one of the plain forms that every verifier reads alike (RFC 5480 2.1.1, RFC
 * 3279 2.3.1): a named curve with an uncompressed point, or RSA with NULL parameters. OpenSSL reads more, above all
 * curves that the caller describes itself (CVE-2020-0601), calls such a curve by name if it is alike, and BoringSSL and
 * Go refuse them: so this looks at the bytes, and before a key is made of them.
 */
export function checkKeyForm(spki: der.Node | undefined): void {
  const parts = der.children(spki, "public key");
  const algorithm = der.children(parts[0], "key algorithm");
  const id = der.oidOf(algorithm[0], "key algorithm");
  if (parts.length !== 2 || algorithm.length !== 2)
    throw new Error(`a public key of algorithm ${id} has another form than RFC 5480 and RFC 3279 give it`);
  const bits = der.wholeBits(parts[1], "public key bits");
  if (id === RSA_ENCRYPTION) {
    if (
      der.bytesOf(der.expectType(algorithm[1], der.Tag.NULL, "RSA parameters"), "RSA parameters").length > 0
    )
      throw new Error("the RSA parameters are not NULL");
    return;
  }
  if (id !== EC_PUBLIC_KEY)
    throw new Error(`keys of algorithm ${id} are not accepted; use ECDSA P-256 or RSA 2048`);
  if (algorithm[1]!.type !== der.Tag.OID)
    throw new Error("the curve is described by parameters, which is not accepted; name it: P-256 or P-384");
  const curve = der.oidOf(algorithm[1], "curve");
  const length = Object.hasOwn(POINT_BYTES, curve) ? POINT_BYTES[curve] : undefined;
  if (length === undefined) throw new Error(`curve ${curve} is not accepted; use P-256 or P-384`);
  if (bits.length !== length || bits[0] !== 4)
    throw new Error("the point of the EC key is not in uncompressed form");
}

/** Throws when the key is too weak, too costly to verify with (a 16 Kbit RSA is a denial of service), or unusual. */
export function checkPublicKey(key: KeyObject): void {
  const details = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === "ec") {
    if (details.namedCurve !== "prime256v1" && details.namedCurve !== "secp384r1")
      throw new Error(`curve ${details.namedCurve} is not accepted; use P-256 or P-384`);
    return;
  }
  if (key.asymmetricKeyType === "rsa") {
    const size = details.modulusLength ?? 0;
    if (size < 2048 || size > 4096) throw new Error(`RSA of ${size} bits is not accepted; use 2048 to 4096`);
    const exponent = details.publicExponent ?? 0n;
    if (exponent < 65537n || exponent > 0xffffffffn || exponent % 2n === 0n)
      throw new Error(`RSA public exponent ${exponent} is not accepted; use 65537`);
    // n is odd for every product of two odd primes; its lowest bit is the lowest bit of the JWK's last byte.
    const modulus = Buffer.from(key.export({ format: "jwk" }).n as string, "base64url");
    if ((modulus.at(-1)! & 1) === 0) throw new Error("the RSA modulus is even");
    return;
  }
  throw new Error(`${key.asymmetricKeyType} keys are not accepted; use ECDSA P-256 or RSA 2048`);
}
