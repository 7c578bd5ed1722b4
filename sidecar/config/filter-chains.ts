/**
 * Filter-chain selection (Envoy FilterChainMatch): a sieve. Each step keeps the chains with the most specific match
 * and never comes back: once a chain names the destination port, the chains without a port are out.
 */
import type { CidrRange, ConnectionFacts, FilterChain } from "../snapshot.ts";

/** Falls back where no chain matches; null then is a refused connection. */
export function findFilterChain(
  chains: readonly FilterChain[],
  fallback: FilterChain | null,
  facts: ConnectionFacts,
): FilterChain | null {
  let left: readonly FilterChain[] = chains;
  for (const rank of STEPS) {
    left = best(left, facts, rank);
    if (left.length === 0) return fallback;
  }
  return left[0] ?? fallback;
}

/** 0 = does not match, 1 = any, above: the more specific the higher. */
type Rank = (chain: FilterChain, facts: ConnectionFacts) => number;

const STEPS: readonly Rank[] = [
  (c, f) => (c.match.destinationPort === 0 ? 1 : c.match.destinationPort === f.destinationPort ? 2 : 0),
  (c, f) => rangeRank(c.match.prefixRanges, f.destinationAddress),
  (c, f) => serverNameRank(c.match.serverNames, f.serverName.toLowerCase()),
  (c, f) =>
    c.match.transportProtocol === "" ? 1 : c.match.transportProtocol === f.transportProtocol ? 2 : 0,
  (c, f) => protocolRank(c.match.applicationProtocols, f.applicationProtocols),
  (c, f) => rangeRank(c.match.sourcePrefixRanges, f.sourceAddress),
  (c, f) => (c.match.sourcePorts.length === 0 ? 1 : c.match.sourcePorts.includes(f.sourcePort) ? 2 : 0),
];

function best(chains: readonly FilterChain[], facts: ConnectionFacts, rank: Rank): readonly FilterChain[] {
  let top = 1;
  let kept: FilterChain[] = [];
  for (const chain of chains) {
    const value = rank(chain, facts);
    if (value > top) {
      top = value;
      kept = [chain];
    } else if (value === top) kept.push(chain);
  }
  return kept;
}

function rangeRank(ranges: readonly CidrRange[], address: string): number {
  if (ranges.length === 0) return 1;
  let top = 0;
  for (const range of ranges) if (range.contains(address)) top = Math.max(top, 2 + range.length);
  return top;
}

/** The client's own list counts, not what TLS will agree on; its first name that any chain has decides. */
function protocolRank(named: readonly string[], offered: readonly string[]): number {
  if (named.length === 0) return 1;
  const at = offered.findIndex((protocol) => named.includes(protocol));
  return at < 0 ? 0 : 2 + offered.length - at;
}

function serverNameRank(names: readonly string[], name: string): number {
  if (names.length === 0) return 1;
  let top = 0;
  for (const wanted of names) {
    if (wanted.toLowerCase() === name && name !== "") top = Math.max(top, 100_000);
    else if (wanted.startsWith("*.") && name.endsWith(wanted.slice(1).toLowerCase()))
      top = Math.max(top, 2 + wanted.length);
  }
  return top;
}
