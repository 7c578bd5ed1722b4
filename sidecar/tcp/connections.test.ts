import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import type { Accepted } from "../inbound.ts";
import type { FilterChain, Listener, Snapshot } from "../snapshot.ts";
import { TcpConnections } from "./connections.ts";

const chain = (hash: string, more: Partial<FilterChain> = {}): FilterChain =>
  ({ hash, tls: null, networkFilters: [], terminal: { kind: "tcp" }, ...more }) as unknown as FilterChain;
const listener = (hash: string, found: FilterChain | null, direction = "INBOUND"): Listener =>
  ({ name: "in", hash, direction, findFilterChain: () => found }) as unknown as Listener;
const snapshot = (one: Listener | null): Snapshot =>
  ({ listeners: new Map(one === null ? [] : [["in", one]]) }) as unknown as Snapshot;
const denies = {
  networkFilters: [
    {
      kind: "rbac",
      name: "r",
      rbac: {
        rules: {
          action: "DENY",
          policies: [{ name: "ns[a] policy[b]", permissions: [() => true], principals: [() => true] }],
        },
      },
    },
  ],
} as unknown as Partial<FilterChain>;

function opened(at: Listener, by: FilterChain) {
  const connections = new TcpConnections();
  const ends: string[] = [];
  const accepted = { stream: new PassThrough(), facts: { peerIdentities: [] }, listener: at, chain: by };
  connections.add(accepted as unknown as Accepted, { end: (why) => ends.push(why) });
  return { connections, ends };
}

test.each<[string, Listener | null, string[]]>([
  ["the same listener", listener("1", chain("new", denies)), []],
  ["a listener whose chain is the same", listener("2", chain("old")), []],
  ["a chain that lets it pass", listener("2", chain("new")), []],
  [
    "a policy that denies it",
    listener("2", chain("new", denies)),
    ["rbac_access_denied_matched_policy[ns[a]_policy[b]]"],
  ],
  ["no chain for it any more", listener("2", null), ["filter_chain_not_found"]],
  [
    "a chain of HTTP",
    listener("2", chain("new", { terminal: { kind: "http" } } as never)),
    ["filter_chain_not_found"],
  ],
  [
    "mTLS, which it did not shake hands for",
    listener("2", chain("new", { tls: {} } as never)),
    ["filter_chain_not_found"],
  ],
  ["no listener", null, ["filter_chain_not_found"]],
])("an open connection and %s", (_name, now, wanted) => {
  const before = chain("old");
  const { connections, ends } = opened(listener("1", before), before);
  connections.review(snapshot(now));
  expect(ends).toEqual(wanted);
});

test("outward, a listener that goes takes no connection along", () => {
  const before = chain("old");
  const { connections, ends } = opened(listener("1", before, "OUTBOUND"), before);
  connections.review(snapshot(null));
  expect(ends).toEqual([]);
});
