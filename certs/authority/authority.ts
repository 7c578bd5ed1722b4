/** The mesh's certificate authority: one root on disk, and leaves issued from it in memory. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { type Clock, systemClock } from "#lib/clock.ts";
import { isTrustDomain, parseSpiffeId } from "../spiffe.ts";
import { buildLeaf, buildRoot } from "../x509/build.ts";
import { fromPem, toPem } from "../x509/pem.ts";
import { type ReadCertificate, readCertificate } from "../x509/read.ts";
import { createStore, readMark, readStore, type Stored, writeMark } from "./store.ts";

const ROOT_LIFETIME_MS = 10 * 365 * 86_400_000;
/** Istio backdates by two minutes: the workload's clock may run behind the CA's. */
const BACKDATE_MS = 120_000;

export interface Issued {
  /** PEM, leaf first and root last, as IstioCertificateService answers. */
  chain: string[];
  notAfter: number;
}

export class Authority {
  readonly trustDomain: string;
  readonly rootPem: string;
  /** True when this call to `open` made the root: worth a line in the log, every workload must learn it. */
  readonly created: boolean;
  readonly #signer: { der: Buffer; key: KeyObject };
  readonly #rootNotAfter: number;
  readonly #clock: Clock;

  private constructor(
    trustDomain: string,
    root: ReadCertificate,
    key: KeyObject,
    created: boolean,
    clock: Clock,
  ) {
    this.trustDomain = trustDomain;
    this.rootPem = toPem("CERTIFICATE", root.der);
    this.created = created;
    this.#signer = { der: root.der, key };
    this.#rootNotAfter = root.notAfter;
    this.#clock = clock;
  }

  /**
   * Opens the CA in `directory`, making a new root only when the directory is absent or empty and no mark beside it
   * says that there was one. Throws, and changes nothing, on anything else that is not a sound CA: a mesh that quietly
   * gets a new root loses every connection.
   */
  static open(directory: string, trustDomain: string, clock: Clock = systemClock): Authority {
    if (!isTrustDomain(trustDomain)) throw new Error(`${JSON.stringify(trustDomain)} is no trust domain`);
    const stored = readStore(directory);
    const mark = readMark(directory);
    if (stored === undefined && mark !== undefined)
      throw new Error(
        `the CA in ${directory} is gone, but its mark ${mark.path} is there: restore the directory from a copy; only if its root may be given up, remove the mark and a new one is made`,
      );
    if (stored !== undefined) {
      const { root, key } = check(directory, stored, trustDomain, clock.now());
      const fingerprint = root.x509.fingerprint256;
      if (mark === undefined) writeMark(directory, fingerprint);
      else if (mark.fingerprint !== fingerprint)
        throw new Error(
          `the CA in ${directory} has another root than the mesh began with (${mark.path}): restore the directory from a copy; only if the new root is meant, remove the mark`,
        );
      return new Authority(trustDomain, root, key, false, clock);
    }
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    const now = clock.now();
    const der = buildRoot(privateKey, trustDomain, {
      notBefore: now - BACKDATE_MS,
      notAfter: now + ROOT_LIFETIME_MS,
    });
    createStore(directory, {
      certificate: toPem("CERTIFICATE", der),
      key: privateKey.export({ format: "pem", type: "pkcs8" }) as string,
    });
    const root = readCertificate(der);
    writeMark(directory, root.x509.fingerprint256);
    return new Authority(trustDomain, root, privateKey, true, clock);
  }

  /** A leaf for the public key (DER SPKI). The caller has proved both the key and the identity. */
  issue(spki: Buffer, spiffeId: string, ttlSeconds: number): Issued {
    const id = parseSpiffeId(spiffeId);
    if ("error" in id) throw new Error(id.error);
    if (id.trustDomain !== this.trustDomain || id.path === "")
      throw new Error(`${spiffeId} is no workload of trust domain ${this.trustDomain}`);
    if (!(ttlSeconds > 0)) throw new Error(`a lifetime of ${ttlSeconds} s is not positive`);
    const now = this.#clock.now();
    if (now >= this.#rootNotAfter)
      throw new Error(`the root expired at ${new Date(this.#rootNotAfter).toISOString()}; rotate it`);
    const notAfter = Math.min(now + ttlSeconds * 1000, this.#rootNotAfter);
    const leaf = buildLeaf(this.#signer, { spki, spiffeId, notBefore: now - BACKDATE_MS, notAfter });
    return { chain: [toPem("CERTIFICATE", leaf), this.rootPem], notAfter };
  }
}

function check(
  directory: string,
  stored: Stored,
  trustDomain: string,
  now: number,
): { root: ReadCertificate; key: KeyObject } {
  const refuse = (what: string): Error =>
    new Error(
      `the CA in ${directory} cannot be used: ${what}. Restore the directory from a copy; only if its root may be given up, move it and ${directory}.sha256 away and a new one is made`,
    );
  let root: ReadCertificate;
  let key: KeyObject;
  try {
    const blocks = fromPem("CERTIFICATE", stored.certificate);
    if (blocks.length !== 1) throw new Error(`it holds ${blocks.length} certificates`);
    root = readCertificate(blocks[0]!);
  } catch (problem) {
    throw refuse(`root-cert.pem is corrupt (${(problem as Error).message})`);
  }
  try {
    key = createPrivateKey(stored.key);
  } catch {
    throw refuse("root-key.pem is corrupt"); // OpenSSL's words could quote the file
  }
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  if (!spki.equals(root.x509.publicKey.export({ format: "der", type: "spki" })))
    throw refuse("root-key.pem is not the key of root-cert.pem");
  if (key.asymmetricKeyDetails?.namedCurve !== "prime256v1") throw refuse("root-key.pem is not ECDSA P-256");
  if (!root.isCa || !root.keyUsage?.keyCertSign) throw refuse("root-cert.pem is not a CA certificate");
  if (!root.x509.verify(root.x509.publicKey)) throw refuse("root-cert.pem does not carry its own signature");
  if (now > root.notAfter) throw refuse(`root-cert.pem expired at ${new Date(root.notAfter).toISOString()}`);
  if (root.uris.length > 0 && root.uris[0] !== `spiffe://${trustDomain}`)
    throw refuse(`root-cert.pem belongs to ${root.uris[0]}, the mesh is ${trustDomain}`);
  return { root, key };
}
