/** Keys and signatures we accept: ECDSA P-256/P-384 and RSA 2048-4096, with SHA-2. Istio's set, less the small RSA. */
import type { KeyObject } from "node:crypto";

const SIGNATURES: Record<string, { hash: string; key: "ec" | "rsa" }> = {
  "1.2.840.10045.4.3.2": { hash: "sha256", key: "ec" },
  "1.2.840.10045.4.3.3": { hash: "sha384", key: "ec" },
  "1.2.840.10045.4.3.4": { hash: "sha512", key: "ec" },
  "1.2.840.113549.1.1.11": { hash: "sha256", key: "rsa" },
  "1.2.840.113549.1.1.12": { hash: "sha384", key: "rsa" },
  "1.2.840.113549.1.1.13": { hash: "sha512", key: "rsa" },
};
export const ECDSA_SHA256 = "1.2.840.10045.4.3.2";

export function signatureAlgorithm(oid: string): { hash: string; key: "ec" | "rsa" } {
  const found = Object.hasOwn(SIGNATURES, oid) ? SIGNATURES[oid] : undefined;
  if (found === undefined)
    throw new Error(`signature algorithm ${oid} is not accepted; use ECDSA or RSA with SHA-2`);
  return found;
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
