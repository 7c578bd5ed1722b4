/** What stands in a filter chain before its end and may close a connection, as a whole: for accepting and for keeping. */
import { TLSSocket } from "node:tls";
import type { Accepted } from "../inbound.ts";
import type { ConnectionFacts, FilterChain, Listener, NetworkFilter } from "../snapshot.ts";
import { evaluateRbac } from "./rbac.ts";

/** Null: the connection may pass. Otherwise Envoy's CONNECTION_TERMINATION_DETAILS. */
export function connectionRefusal(chain: FilterChain, facts: ConnectionFacts): string | null {
  for (const filter of chain.networkFilters) {
    const refusal = refusalOf(filter, facts);
    if (refusal !== null) return refusal;
  }
  return null;
}

function refusalOf(filter: NetworkFilter, facts: ConnectionFacts): string | null {
  switch (filter.kind) {
    case "noop":
      return null;
    case "rbac": {
      const input = { connection: facts, head: null, remoteAddress: facts.sourceAddress };
      const { allowed, policy } = evaluateRbac(filter.rbac, input);
      return allowed ? null : `rbac_access_denied_matched_policy[${(policy ?? "none").replaceAll(" ", "_")}]`;
    }
    default:
      // A new kind of filter must say here what it lets pass; until then it lets nothing pass.
      return unknown(filter);
  }
}

function unknown(filter: never): string {
  return `unknown_filter[${(filter as NetworkFilter).name}]`;
}

/**
 * The chain that a connection which was accepted earlier has in the listener of today, or why it would not be accepted
 * as it is: a TLS that it did not shake hands for, an identity that it did not prove, a filter that refuses it.
 */
export function chainOfNow(
  listener: Listener | undefined,
  { facts, stream, chain: before }: Pick<Accepted, "facts" | "stream" | "chain">,
): FilterChain | { readonly refusal: string } {
  const chain = listener?.findFilterChain(facts) ?? null;
  if (chain === null) return { refusal: "filter_chain_not_found" };
  if (chain.hash === before.hash) return chain;
  if ((chain.tls !== null) !== stream instanceof TLSSocket) return { refusal: "filter_chain_not_found" };
  if (chain.tls?.requireClientCertificate === true && facts.peerIdentities.length === 0)
    return { refusal: "no_certificate" };
  const refusal = connectionRefusal(chain, facts);
  return refusal === null ? chain : { refusal };
}
