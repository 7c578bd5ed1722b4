import { expect, test } from "vitest";
import type { ConnectionFacts, FilterChain } from "../snapshot.ts";
import { findFilterChain } from "./filter-chains.ts";

function chain(name: string, match: Partial<FilterChain["match"]>): FilterChain {
  return {
    name,
    match: {
      destinationPort: 0,
      prefixRanges: [],
      serverNames: [],
      transportProtocol: "",
      applicationProtocols: [],
      sourcePrefixRanges: [],
      sourcePorts: [],
      ...match,
    },
    tls: null,
    transportSocketConnectTimeoutMs: 0,
    networkFilters: [],
    terminal: { kind: "tcp", clusters: [], idleTimeoutMs: 0, accessLog: [] },
    hash: name,
  };
}

const facts: ConnectionFacts = {
  destinationAddress: "10.0.0.1",
  destinationPort: 9080,
  sourceAddress: "10.0.0.2",
  sourcePort: 1,
  transportProtocol: "raw_buffer",
  applicationProtocols: [],
  serverName: "",
  peerIdentities: [],
};
const chains = [
  chain("catch-all", {}),
  chain("9080 tls", { destinationPort: 9080, transportProtocol: "tls" }),
  chain("catch-all http", { applicationProtocols: ["http/1.1", "h2c"] }),
  chain("exact", { serverNames: ["a.example.com"], transportProtocol: "tls" }),
  chain("mesh http", { destinationPort: 2, applicationProtocols: ["istio-http/1.1"] }),
  chain("mesh tcp", { destinationPort: 2, applicationProtocols: ["istio"] }),
  chain("suffix", { serverNames: ["*.example.com"], transportProtocol: "tls" }),
];

test.each<[string, Partial<ConnectionFacts>, string | null]>([
  ["a chain with the port shuts out the catch-all, although its transport fails", {}, null],
  ["the port's own chain", { transportProtocol: "tls" }, "9080 tls"],
  ["another port falls to the catch-all", { destinationPort: 1 }, "catch-all"],
  [
    "a named protocol is more specific than none",
    { destinationPort: 1, applicationProtocols: ["h2c"] },
    "catch-all http",
  ],
  [
    "an exact server name before a suffix",
    { destinationPort: 1, transportProtocol: "tls", serverName: "A.example.com" },
    "exact",
  ],
  ["a suffix", { destinationPort: 1, transportProtocol: "tls", serverName: "b.example.com" }, "suffix"],
  [
    "of two protocols that chains name, the one that the client puts first",
    { destinationPort: 2, applicationProtocols: ["odd", "istio", "istio-http/1.1"] },
    "mesh tcp",
  ],
  [
    "and the other way round",
    { destinationPort: 2, applicationProtocols: ["istio-http/1.1", "istio"] },
    "mesh http",
  ],
])("%s", (_why, over, wanted) => {
  expect(findFilterChain(chains, null, { ...facts, ...over })?.name ?? null).toBe(wanted);
});
