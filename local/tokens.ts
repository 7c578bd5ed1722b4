import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { chmodSync, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SignJWT } from "jose";
import { PlatformError } from "./object.ts";

/** Seconds; as long as Kubernetes' projected tokens. */
const LIFETIME = 3600;
export const TOKEN_REFRESH_MS = (LIFETIME * 1000) / 2;

/** The platform as token issuer: what the API server is for pods on Kubernetes. */
export class Tokens {
  readonly #key: KeyObject;
  readonly publicKeyFile: string;

  /** Makes tokens.key (0600) and tokens.pub in `stateDir` when they are missing. */
  constructor(stateDir: string) {
    const keyFile = join(stateDir, "tokens.key");
    this.publicKeyFile = join(stateDir, "tokens.pub");
    if (!existsSync(keyFile)) {
      const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
      writeAtomic(keyFile, privateKey.export({ type: "pkcs8", format: "pem" }).toString());
    }
    this.#key = readKey(keyFile);
    const publicPem = createPublicKey(this.#key).export({ type: "spki", format: "pem" }).toString();
    writeAtomic(this.publicKeyFile, publicPem);
  }

  async write(file: string, namespace: string, serviceAccount: string, pod: string): Promise<void> {
    const token = await new SignJWT({
      "kubernetes.io": { namespace, pod: { name: pod }, serviceaccount: { name: serviceAccount } },
    })
      .setProtectedHeader({ alg: "ES256" })
      .setIssuer("weft-local")
      .setAudience("istio-ca")
      .setSubject(`system:serviceaccount:${namespace}:${serviceAccount}`)
      .setIssuedAt()
      .setExpirationTime(`${LIFETIME}s`)
      .sign(this.#key);
    writeAtomic(file, token);
  }
}

function readKey(file: string): KeyObject {
  try {
    const key = createPrivateKey(readFileSync(file));
    if (key.asymmetricKeyDetails?.namedCurve === "prime256v1") return key;
  } catch {
    // OpenSSL's words could quote the file.
  }
  throw new PlatformError(
    `${file} is no ECDSA P-256 private key: remove it, and a new one is made; pods get new tokens at their start`,
  );
}

/** A reader sees the old or the new content, never half; readable by the owner only. */
export function writeAtomic(file: string, text: string): void {
  writeFileSync(`${file}.new`, text, { mode: 0o600 });
  chmodSync(`${file}.new`, 0o600);
  renameSync(`${file}.new`, file);
}
