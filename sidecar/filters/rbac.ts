/** Role-based access control, for HTTP requests and for plain connections (envoy.config.rbac.v3). */
import type { ConnectionFacts, HeadView } from "../snapshot.ts";

/** `head` is null on a TCP chain; conditions on it then do not match. */
export interface RbacInput {
  readonly connection: ConnectionFacts;
  readonly head: HeadView | null;
  /** remote_ip: the client as http/remote-address.ts finds it; the TCP peer on a TCP chain. */
  readonly remoteAddress: string;
}

export type RbacPredicate = (input: RbacInput) => boolean;

export interface RbacPolicy {
  readonly name: string;
  readonly permissions: readonly RbacPredicate[];
  readonly principals: readonly RbacPredicate[];
}

export interface RbacRules {
  readonly action: "ALLOW" | "DENY" | "LOG";
  readonly policies: readonly RbacPolicy[];
}

export interface Rbac {
  /** null = the filter decides nothing. */
  readonly rules: RbacRules | null;
}

export interface RbacVerdict {
  readonly allowed: boolean;
  /** The policy that matched, or null: an ALLOW set denied because none did. */
  readonly policy: string | null;
}

const ALLOWED: RbacVerdict = { allowed: true, policy: null };

/** Envoy's semantics: LOG always passes, ALLOW needs a match, DENY none. */
export function evaluateRbac(rbac: Rbac, input: RbacInput): RbacVerdict {
  if (rbac.rules === null) return ALLOWED;
  const policy = firstMatch(rbac.rules, input);
  return { allowed: allows(rbac.rules, policy), policy };
}

function allows(rules: RbacRules, policy: string | null): boolean {
  if (rules.action === "LOG") return true;
  return (policy !== null) === (rules.action === "ALLOW");
}

function firstMatch(rules: RbacRules, input: RbacInput): string | null {
  for (const policy of rules.policies) {
    if (any(policy.permissions, input) && any(policy.principals, input)) return policy.name;
  }
  return null;
}

function any(predicates: readonly RbacPredicate[], input: RbacInput): boolean {
  for (const predicate of predicates) if (predicate(input)) return true;
  return false;
}
