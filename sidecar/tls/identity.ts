import { validateSvid } from "#certs/x509/index.ts";

/** A matcher of the cluster's or listener's match_subject_alt_names; snapshot.ts StringMatcher fits. */
export interface NameMatcher {
  matches(value: string): boolean;
  readonly text: string;
}

export interface IdentityRules {
  readonly trustDomains: readonly string[];
  /** Empty = any identity of the trust domains. */
  readonly names: readonly NameMatcher[];
}

export type Identity = { readonly spiffeId: string } | { readonly error: string; readonly reason: string };

/** Full SVID validation and then secure naming: the right CA is not enough, it must be one of the names. */
export function identify(
  chain: readonly Buffer[],
  roots: readonly Buffer[],
  rules: IdentityRules,
  nowMs = Date.now(),
): Identity {
  const result = validateSvid(chain, roots, rules.trustDomains, nowMs);
  if ("error" in result) return result;
  if (rules.names.length === 0 || rules.names.some((name) => name.matches(result.spiffeId)))
    return { spiffeId: result.spiffeId };
  const wanted = rules.names.map((name) => name.text).join(", ");
  return { error: `the peer is ${result.spiffeId}, expected ${wanted}`, reason: "san_mismatch" };
}
