/** Keeps one workload's certificate fresh. The private key is made here, lives in memory, and changes with every certificate. */
import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { Backoff } from "#lib/backoff.ts";
import { type Clock, systemClock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import { buildCsr } from "../x509/csr.ts";
import { fromPem, toPem } from "../x509/pem.ts";
import { readCertificate } from "../x509/read.ts";
import { validateSvid } from "../x509/validate.ts";

export interface WorkloadSecret {
  spiffeId: string;
  /** PKCS#8 PEM. Never logged, never written to disk. */
  keyPem: string;
  /** PEM of the leaf and any intermediates: what a TLS peer is sent. */
  chainPem: string;
  /** PEM bundle peers are checked against, and the same as DER. */
  rootsPem: string;
  roots: Buffer[];
  notBefore: number;
  notAfter: number;
}

/** Asks a CA: PEM request and lifetime in seconds (0: the CA's own) in, PEM certificates out, leaf first and root last. Rejects on failure. */
export type Sign = (csrPem: string, ttlSeconds: number) => Promise<string[]>;

export interface SecretManagerOptions {
  sign: Sign;
  trustDomain: string;
  /** Asked for; the CA may give less. Default: what the CA is set to. */
  ttlSeconds?: number;
  clock?: Clock;
  random?: () => number;
  log?: Logger;
}

/** Istio's SECRET_GRACE_PERIOD_RATIO 0.5 and its jitter: a fleet started together does not renew together. */
const RENEW_AT = 0.5;
const JITTER = 0.01;
const MIN_WAIT_MS = 100;
/** validity_duration of a request that leaves the lifetime to the CA, istiod's or ours. */
const CA_DECIDES = 0;

export class SecretManager {
  readonly #options: SecretManagerOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #backoff: Backoff;
  readonly #listeners = new Set<(secret: WorkloadSecret) => void>();
  #current: WorkloadSecret | undefined;
  #cancel: (() => void) | undefined;
  #running = false;
  #lastError: string | undefined;

  constructor(options: SecretManagerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#backoff = new Backoff(500, 30_000, this.#random);
  }

  /** Undefined before the first certificate: TLS must then be refused, not attempted without. */
  get current(): WorkloadSecret | undefined {
    return this.#current;
  }
  /** Why the last attempt failed; undefined after a success. */
  get lastError(): string | undefined {
    return this.#lastError;
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    void this.#renew();
  }
  stop(): void {
    this.#running = false;
    this.#cancel?.();
  }

  /** Called with every new secret, not with the one already there. Returns how to stop. */
  onChange(listener: (secret: WorkloadSecret) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The secret as soon as there is one. */
  ready(): Promise<WorkloadSecret> {
    if (this.#current) return Promise.resolve(this.#current);
    return new Promise((resolve) => {
      const off = this.onChange((secret) => {
        off();
        resolve(secret);
      });
    });
  }

  async #renew(): Promise<void> {
    let wait: number;
    try {
      const secret = await this.#obtain();
      if (!this.#running) return;
      this.#current = secret;
      this.#lastError = undefined;
      this.#backoff.reset();
      const part = RENEW_AT + (this.#random() * 2 - 1) * JITTER;
      wait = (secret.notAfter - this.#clock.now()) * part;
      this.#options.log?.info("certificate issued", {
        spiffeId: secret.spiffeId,
        notAfter: new Date(secret.notAfter).toISOString(),
      });
      for (const listener of [...this.#listeners]) listener(secret);
    } catch (problem) {
      if (!this.#running) return;
      this.#lastError = (problem as Error).message;
      wait = this.#backoff.next();
      this.#options.log?.warn("no certificate from the CA, trying again", {
        error: this.#lastError,
        waitMs: Math.round(wait),
        holds: this.#current ? `certificate until ${new Date(this.#current.notAfter).toISOString()}` : "none",
      });
    }
    this.#cancel = this.#clock.after(Math.max(MIN_WAIT_MS, wait), () => void this.#renew());
  }

  async #obtain(): Promise<WorkloadSecret> {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    const answer = await this.#options.sign(buildCsr(privateKey), this.#options.ttlSeconds ?? CA_DECIDES);
    const certificates = answer.flatMap((pem) => fromPem("CERTIFICATE", pem));
    if (certificates.length < 2)
      throw new Error(`the CA sent ${certificates.length} certificates; a leaf and a root are needed`);
    const chain = certificates.slice(0, -1);
    const roots = certificates.slice(-1);
    const checked = validateSvid(chain, roots, this.#options.trustDomain, this.#clock.now());
    if ("error" in checked) throw new Error(`the CA sent an unusable certificate: ${checked.error}`);
    const leaf = readCertificate(chain[0]!);
    const ours = createPublicKey(privateKey).export({ format: "der", type: "spki" });
    if (!ours.equals(leaf.x509.publicKey.export({ format: "der", type: "spki" })))
      throw new Error("the CA sent a certificate for another key");
    return {
      spiffeId: checked.spiffeId,
      keyPem: privateKey.export({ format: "pem", type: "pkcs8" }) as string,
      chainPem: chain.map((der) => toPem("CERTIFICATE", der)).join(""),
      rootsPem: roots.map((der) => toPem("CERTIFICATE", der)).join(""),
      roots,
      notBefore: leaf.notBefore,
      notAfter: leaf.notAfter,
    };
  }
}
