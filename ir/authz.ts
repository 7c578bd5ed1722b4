import type { SourceRef } from "./source.ts";

/** A value pattern of an AuthorizationPolicy: exact, "pre*", "*suf", "*" (present). */
export type AuthzPattern =
  | { readonly kind: "exact" | "prefix" | "suffix"; readonly value: string }
  /** Path templates with {*} and {**}; paths only. */
  | { readonly kind: "template"; readonly value: string }
  | { readonly kind: "present" };

/**
 * One condition: true when any of `values` matches and none of `notValues` does (an empty list asks nothing).
 * CIDR subjects hold exact patterns like "10.0.0.0/8". `namespace` and `service-account` are parts of the peer identity
 * ("ns/sa" for service-account).
 */
export interface AuthzCondition {
  readonly subject:
    | { readonly kind: "principal" | "namespace" | "service-account" | "trust-domain" }
    | { readonly kind: "source-ip" | "remote-ip" | "destination-ip" }
    | { readonly kind: "destination-port" | "sni" }
    | { readonly kind: "host" | "method" | "path" }
    | { readonly kind: "header"; readonly name: string }
    | { readonly kind: "request-principal" | "jwt-audiences" | "jwt-presenter" }
    | { readonly kind: "jwt-claim"; readonly path: readonly string[] };
  readonly values: readonly AuthzPattern[];
  readonly notValues: readonly AuthzPattern[];
}

/** Rule = (any `from`) and (any `to`) and (all `when`); an empty list asks nothing. Inside one entry all conditions hold. */
export interface AuthzRuleIr {
  readonly from: readonly (readonly AuthzCondition[])[];
  readonly to: readonly (readonly AuthzCondition[])[];
  readonly when: readonly AuthzCondition[];
  /** Position in the policy's `rules`: part of the RBAC policy name. */
  readonly index: number;
  /** Needs HTTP: on a TCP port an ALLOW rule of this kind is dropped whole, a DENY rule loses only these conditions. */
  readonly needsHttp: boolean;
  readonly source: SourceRef;
}

export interface AuthzPolicyIr {
  readonly namespace: string;
  readonly name: string;
  /** Empty = never matches (ALLOW without rules denies all). */
  readonly rules: readonly AuthzRuleIr[];
  /** istio.io/dry-run: shadow only. */
  readonly dryRun: boolean;
  readonly source: SourceRef;
}

/** Already scoped to the workload. Order of evaluation: audit, deny, allow. No allow policy = allow. */
export interface AuthorizationIr {
  readonly audit: readonly AuthzPolicyIr[];
  readonly deny: readonly AuthzPolicyIr[];
  readonly allow: readonly AuthzPolicyIr[];
}

/** Subjects that exist only in HTTP requests. */
export const HTTP_SUBJECTS: ReadonlySet<AuthzCondition["subject"]["kind"]> = new Set([
  "remote-ip",
  "host",
  "method",
  "path",
  "header",
  "request-principal",
  "jwt-audiences",
  "jwt-presenter",
  "jwt-claim",
] as const);
