import { expect, test } from "vitest";
import { newHost } from "../cluster/hosts.ts";
import type { Cluster, UpstreamTls } from "../snapshot.ts";
import { Pools } from "./pools.ts";

const context = { snapshot: () => null, secret: () => null, trustDomain: "cluster.local" };
const cluster = (hash: string): Cluster => {
  const mtls = { name: "tlsMode-istio", match: { tlsMode: "istio" }, tls: {} as UpstreamTls };
  return {
    name: "c",
    hash,
    transportSocketMatches: [mtls],
    transportSocket: null,
    idleTimeoutMs: 0,
  } as unknown as Cluster;
};

test("a push that says the same keeps the pool; another cluster, ALPN or transport does not", () => {
  const pools = new Pools();
  const istio = ["istio"];
  const host = newHost({ address: "127.0.0.1", port: 1, pipe: null });
  const before = cluster("1");
  const pool = pools.get(before, host, istio, context);
  expect(pools.get(before, host, istio, context)).toBe(pool);
  expect(pools.get(cluster("1"), host, ["istio"], context)).toBe(pool);
  expect(pools.get(cluster("2"), host, istio, context)).not.toBe(pool);
  expect(pools.get(before, host, null, context)).not.toBe(pool);
  expect(pools.get(before, host, istio, context)).toBe(pool);
  expect(pools.get(before, host, istio, context)).toBe(pool);
  // The endpoint gets a sidecar: an update of the same host object.
  host.transportSocketMetadata = { tlsMode: "istio" };
  expect(pools.get(before, host, istio, context)).not.toBe(pool);
});

test("original destinations are one host each, and their number is bounded", () => {
  const pools = new Pools();
  const first = pools.originalHost("10.0.0.1", 80);
  expect(pools.originalHost("10.0.0.1", 80)).toBe(first);
  for (let port = 1; port <= 1024; port++) pools.originalHost("10.0.0.2", port);
  expect(pools.originalHost("10.0.0.1", 80)).not.toBe(first);
});
