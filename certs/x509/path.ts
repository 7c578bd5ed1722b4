/**
 * Finds a way from a leaf to a root among the certificates that a peer sent. What a peer can make long is bounded: each
 * certificate is taken up once, and the signatures that are verified are counted. (Trying every order of nine CA
 * certificates with one name and one key is 9! orders: that blocked the process for a minute.)
 */
import { checkPublicKey } from "./algorithms.ts";
import { MAX_INTERMEDIATES, MAX_SIGNATURES } from "./limits.ts";
import type { ReadCertificate } from "./read.ts";

/** Throws why `issuer` may not stand above `below` CA certificates. What it permits at a depth it permits at every lesser one. */
export type CheckIssuer = (issuer: ReadCertificate, below: number, isRoot: boolean) => void;

/** `failure` is what `check` threw for an issuer that did sign, if one did; `gaveUp`: the bound was met first. */
export type PathResult =
  | { readonly root: ReadCertificate }
  | { readonly failure: unknown; readonly gaveUp: boolean };

/** `others`: what the peer sent besides its leaf, in any order; the first path that holds is taken. */
export function findPath(
  leaf: ReadCertificate,
  others: readonly ReadCertificate[],
  roots: readonly ReadCertificate[],
  check: CheckIssuer,
): PathResult {
  const signatures = new Signatures();
  const waiting = new Set(others);
  let failure: unknown;
  // Breadth first: each certificate is met first where the fewest stand below it, and whatever would be permitted
  // further up is permitted there. So nothing is lost by never looking at it again.
  let level: readonly ReadCertificate[] = [leaf];
  for (let below = 0; level.length > 0; below++) {
    for (const cert of level)
      for (const root of roots) {
        if (!signatures.hold(root, cert)) continue;
        try {
          check(root, below, true);
          return { root };
        } catch (problem) {
          failure = problem;
        }
      }
    if (below === MAX_INTERMEDIATES) break;
    const above: ReadCertificate[] = [];
    for (const cert of level)
      for (const issuer of waiting) {
        if (!signatures.hold(issuer, cert)) continue;
        waiting.delete(issuer);
        try {
          check(issuer, below, false);
          above.push(issuer);
        } catch (problem) {
          failure = problem;
        }
      }
    level = above;
  }
  return { failure, gaveUp: signatures.gaveUp };
}

class Signatures {
  #verified = 0;
  gaveUp = false;

  /** Names and key identifiers come first, then the size of the key: both cost nothing beside a signature. */
  hold(issuer: ReadCertificate, cert: ReadCertificate): boolean {
    if (issuer === cert || !cert.x509.checkIssued(issuer.x509)) return false;
    try {
      checkPublicKey(issuer.x509.publicKey);
    } catch {
      return false;
    }
    if (this.#verified === MAX_SIGNATURES) {
      this.gaveUp = true;
      return false;
    }
    this.#verified++;
    try {
      return cert.x509.verify(issuer.x509.publicKey);
    } catch {
      return false;
    }
  }
}
