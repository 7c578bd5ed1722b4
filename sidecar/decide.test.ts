import { describe, expect, test } from "vitest";
import { present, recorded } from "#test/harness/recorded.ts";
import { TYPE } from "#xds/index.ts";
import { ConfigStore, type RefusedResource } from "./config/store.ts";
import { decide } from "./decide.ts";
import type { ConnectionFacts, HeadView } from "./snapshot.ts";

function load(sample: string): { store: ConfigStore; errors: RefusedResource[] } {
  const store = new ConfigStore();
  const errors = [
    ...store.update({ typeUrl: TYPE.cluster, resources: recorded(sample, "Cluster"), full: true }).refused,
    ...store.update({ typeUrl: TYPE.endpoints, resources: recorded(sample, "ClusterLoadAssignment") })
      .refused,
    ...store.update({ typeUrl: TYPE.listener, resources: recorded(sample, "Listener"), full: true }).refused,
    ...store.update({ typeUrl: TYPE.route, resources: recorded(sample, "RouteConfiguration") }).refused,
  ];
  return { store, errors };
}

function head(
  authority: string,
  path: string,
  headers: Record<string, string> = {},
  method = "GET",
): HeadView {
  return {
    method,
    path,
    authority,
    get: (n) => headers[n] ?? null,
    getAll: (n) => (headers[n] === undefined ? [] : [headers[n]]),
    has: (n) => n in headers,
  };
}

function facts(over: Partial<ConnectionFacts> = {}): ConnectionFacts {
  return {
    destinationAddress: "127.10.0.3",
    destinationPort: 9080,
    sourceAddress: "127.0.0.2",
    sourcePort: 5,
    transportProtocol: "raw_buffer",
    applicationProtocols: ["http/1.1"],
    serverName: "",
    peerIdentities: [],
    ...over,
  };
}

// Our own small configuration in istiod's shape, and where they are at hand, what an istiod really sent.
describe("configuration of an istiod", () => {
  test.each(
    present(
      "productpage",
      "reviews-v1",
      "productpage-delta",
      "productpage-sotw",
      "productpage-delta-nomx-noalpn",
      "productpage-delta-nomx-noalpn-NONE",
      "reviews-v1-delta",
      "kitchen-sidecar",
    ),
  )("%s is accepted and live", (sample) => {
    const { store, errors } = load(sample);
    expect(errors).toEqual([]);
    expect(store.current.listeners.size).toBeGreaterThan(0);
  });

  test.each(present("productpage", "productpage-delta"))("%s: jason goes to v3, others 90/10", (sample) => {
    const { current } = load(sample).store;
    const jason = decide(current, {
      listener: "virtualOutbound",
      facts: facts(),
      head: head("reviews:9080", "/reviews/0", { "end-user": "jason" }),
    });
    expect(jason.listener).toBe("0.0.0.0_9080");
    expect(jason.clusters.map((c) => c.name)).toEqual(["outbound|9080|v3|reviews.default.svc.cluster.local"]);
    expect(jason.clusters[0]?.endpoints.length).toBeGreaterThan(0);
    const others = decide(current, {
      listener: "virtualOutbound",
      facts: facts(),
      head: head("REVIEWS.default", "/reviews/0"),
    });
    expect(others.clusters.map((c) => c.weight)).toEqual([90, 10]);
    const away = decide(current, {
      listener: "virtualOutbound",
      facts: facts(),
      head: head("example.com", "/"),
    });
    expect(away.clusters.map((c) => c.name)).toEqual(["PassthroughCluster"]);
  });

  // Three recordings of one mesh: with and without Istio's own filters, and without interception.
  test.each(
    present(
      "productpage",
      "productpage-delta",
      "productpage-sotw",
      "productpage-delta-nomx-noalpn",
      "productpage-delta-nomx-noalpn-NONE",
    ),
  )("%s decides as the policies say", (sample) => {
    const { current } = load(sample).store;
    // Without interception every listener is bound: the one that leads outwards.
    const outbound = [...current.listeners.values()].find((l) => l.direction === "OUTBOUND");
    const listener = (sample.endsWith("NONE") ? outbound?.name : "virtualOutbound") ?? "";
    const ask = (host: string, path: string, headers: Record<string, string> = {}) =>
      decide(current, { listener, facts: facts(), head: head(host, path, headers) });
    const names = (d: ReturnType<typeof ask>) => d.clusters.map((c) => [c.name.split("|")[2], c.weight]);
    expect(names(ask("reviews:9080", "/reviews/0", { "end-user": "jason" }))).toEqual([["v3", 1]]);
    expect(names(ask("reviews:9080", "/reviews/0")).map(([, weight]) => weight)).toEqual([90, 10]);
    const details = ask("details:9080", "/details/0");
    expect(details.status === null || details.reason === "cluster_not_found").toBe(true);
    expect(ask("ratings:9080", "/ratings/0").filters.some((f) => f.verdict === "delay")).toBe(true);
    const unknown = ask("nobody.example", "/");
    expect(unknown.clusters.map((c) => c.name).concat(unknown.reason)).toContain("PassthroughCluster");
  });

  test.each(present("productpage", "productpage-delta"))(
    "%s: ratings may be delayed by 2 s, one in a hundred",
    (sample) => {
      const { current } = load(sample).store;
      const ratings = decide(current, {
        listener: "virtualOutbound",
        facts: facts(),
        head: head("ratings:9080", "/"),
      });
      expect(ratings.filters).toContainEqual({
        name: "envoy.filters.http.fault",
        verdict: "delay",
        policy: "2000 ms, 1 %",
      });
      expect(ratings.status).toBe(null);
    },
  );

  test.each(present("reviews-v1", "reviews-v1-delta"))(
    "%s: the product page may read, others may not, plaintext finds no chain",
    (sample) => {
      const { current } = load(sample).store;
      const ask = (identity: string, method: string) =>
        decide(current, {
          listener: "virtualInbound",
          facts: facts({
            destinationAddress: "127.0.0.4",
            transportProtocol: "tls",
            applicationProtocols: ["istio-http/1.1", "istio", "http/1.1"],
            peerIdentities: [identity],
          }),
          head: head("reviews:9080", "/reviews/0", {}, method),
        });
      expect(ask("spiffe://cluster.local/ns/default/sa/bookinfo-productpage", "GET").status).toBe(null);
      expect(ask("spiffe://cluster.local/ns/default/sa/bookinfo-details", "GET").status).toBe(403);
      expect(ask("spiffe://cluster.local/ns/default/sa/bookinfo-productpage", "DELETE").status).toBe(403);
      const plain = decide(current, {
        listener: "virtualInbound",
        facts: facts({ destinationAddress: "127.0.0.4" }),
        head: head("reviews:9080", "/"),
      });
      expect(plain.chain).toBe(null);
    },
  );
});
