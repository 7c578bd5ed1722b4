import { expect, test } from "vitest";
import type { Snapshot } from "../snapshot.ts";
import { HttpSeries } from "./istio-metrics.ts";
import { MetricRegistry } from "./metrics.ts";
import { peerOfEndpoint, peerOfNode, peerOfPrincipal, WorkloadsByAddress } from "./peer.ts";
import {
  isMarkedSampled,
  newRequestId,
  parseB3Multi,
  parseB3Single,
  parseTraceparent,
  readDecision,
  readTraceContext,
  samplePoint,
  writeTraceparent,
} from "./trace-context.ts";

const T = "0af7651916cd43dd8448eb211c80319c";
const S = "b7ad6b7169203331";

test("histograms are cumulative in the text, labels are escaped", () => {
  const registry = new MetricRegistry();
  const h = registry.histogram("d_ms", "x", [["a", 'q"\n\\']], [1, 5]);
  h.observe(1);
  h.observe(3);
  h.observe(9);
  expect(registry.text()).toContain(
    [
      'd_ms_bucket{a="q\\"\\n\\\\",le="1"} 1',
      'd_ms_bucket{a="q\\"\\n\\\\",le="5"} 2',
      'd_ms_bucket{a="q\\"\\n\\\\",le="+Inf"} 3',
      'd_ms_sum{a="q\\"\\n\\\\"} 13',
      'd_ms_count{a="q\\"\\n\\\\"} 3',
    ].join("\n"),
  );
});

test("a full family folds new label sets into one series", () => {
  const registry = new MetricRegistry(2);
  for (let n = 0; n < 5; n++) registry.counter("c", "x", [["n", `${n}`]]).inc();
  expect([...registry.values()].filter(([name]) => name.startsWith("c"))).toHaveLength(3);
  expect(registry.overflow.value).toBe(3);
});

test("istio_requests_total carries Istio's labels", () => {
  const registry = new MetricRegistry();
  const subject = {
    reporter: "destination",
    source: peerOfNode({
      WORKLOAD_NAME: "productpage-v1",
      NAMESPACE: "default",
      LABELS: { app: "productpage", version: "v1" },
    }),
    sourcePrincipal: "spiffe://cluster.local/ns/default/sa/p",
    destination: peerOfEndpoint({ istio: { workload: "reviews-v1;default;reviews;v1;Kubernetes" } }),
    destinationPrincipal: "",
    destinationService: "reviews.default.svc.cluster.local",
    destinationServiceName: "reviews",
    destinationServiceNamespace: "default",
    connectionSecurityPolicy: "mutual_tls",
  } as const;
  const series = new HttpSeries(registry, subject);
  series.of(200, "-").record(3, 0, 10);
  series.of(503, "UH").record(1, 0, 0);
  expect(series.of(200, "")).toBe(series.of(200, "-"));
  const text = registry.text();
  expect(text).toMatch(
    /istio_requests_total\{reporter="destination".*response_code="200".*response_flags="-"\} 1/,
  );
  expect(text).toMatch(/istio_requests_total\{.*response_code="503".*response_flags="UH"\} 1/);
});

test("W3C: valid, future version, and every malformed shape refused", () => {
  expect(parseTraceparent(`00-${T}-${S}-01`)).toEqual({
    traceId: T,
    parentSpanId: S,
    sampled: true,
    state: "",
  });
  expect(parseTraceparent(`cc-${T}-${S}-00-what`)?.sampled).toBe(false);
  for (const bad of [
    `ff-${T}-${S}-01`,
    `00-${T}-${S}-01-x`,
    `00-${"0".repeat(32)}-${S}-01`,
    `00-${T}-${"0".repeat(16)}-01`,
    `00-${T.toUpperCase()}-${S}-01`,
    `00-${T}-${S}`,
  ])
    expect(parseTraceparent(bad), bad).toBeNull();
  expect(parseTraceparent(writeTraceparent(T, S, false))?.sampled).toBe(false);
});

test("B3 single and multi, short trace ids widened", () => {
  expect(parseB3Single(`${S}-${S}-d`)).toEqual({
    traceId: S.padStart(32, "0"),
    parentSpanId: S,
    sampled: true,
    state: "",
  });
  expect(parseB3Single(`${T}-${S}`)?.sampled).toBeNull();
  expect(parseB3Single("0")).toBeNull();
  expect(parseB3Multi(T, S, "0", "")?.sampled).toBe(false);
  expect(parseB3Multi(T, S, "", "1")?.sampled).toBe(true);
  expect(parseB3Multi(T, "zz", "", "")).toBeNull();
});

test("W3C wins over B3; a malformed W3C leaves the word to B3; nothing = null", () => {
  const read = (headers: Record<string, string>) =>
    readTraceContext({ get: (name) => headers[name] ?? null });
  const b3 = `${S}-${S}-1`;
  expect(read({ traceparent: `00-${T}-${S}-00`, b3 })).toMatchObject({ traceId: T, sampled: false });
  expect(read({ traceparent: `00-${T}-${S}`, b3 })).toMatchObject({ parentSpanId: S, sampled: true });
  expect(read({ "x-b3-traceid": T, "x-b3-spanid": S })).toMatchObject({ traceId: T, sampled: null });
  expect(read({ b3: "0" })).toBeNull();
});

test("B3 may bring the decision alone", () => {
  const read = (headers: Record<string, string>) => readDecision({ get: (name) => headers[name] ?? null });
  expect(["0", "1", "d", "2", ""].map((b3) => read({ b3 }))).toEqual([false, true, true, null, null]);
  expect(["0", "1", "true", "false", "x"].map((s) => read({ "x-b3-sampled": s }))).toEqual([
    false,
    true,
    true,
    false,
    null,
  ]);
  expect(read({ "x-b3-flags": "1", "x-b3-sampled": "0" })).toBe(true);
  expect(read({})).toBeNull();
});

test("request ids are version 4 UUIDs; a sampled one carries Envoy's mark", () => {
  expect(newRequestId(false)).toMatch(
    /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
  );
  expect(newRequestId(true)[14]).toBe("9");
  expect(isMarkedSampled(newRequestId(true))).toBe(true);
  expect(isMarkedSampled(newRequestId(false))).toBe(false);
  expect(isMarkedSampled("9")).toBe(false);
});

test("the sample point of an id is the same everywhere, and random without one", () => {
  expect(samplePoint("0000270f-0000-4000-8000-000000000000")).toBe(99.99);
  expect(samplePoint("00002710-0000-4000-8000-000000000000")).toBe(0);
  const points = Array.from({ length: 100 }, () => samplePoint("not hex"));
  expect(new Set(points).size).toBeGreaterThan(50);
});

test("a caller's workload is known by its address, unless its identity says otherwise", () => {
  const host = { address: "10.0.0.7", metadata: { istio: { workload: "web-v1;shop;web;v1;Kubernetes" } } };
  const snapshot = { clusters: new Map([["c", { hosts: [host] }]]) } as unknown as Snapshot;
  const find = (address: string, principal: string) =>
    new WorkloadsByAddress().find(snapshot, address, peerOfPrincipal(principal));
  const shop = "spiffe://cluster.local/ns/shop/sa/web";
  expect(find("10.0.0.7", shop)).toMatchObject({ workload: "web-v1", namespace: "shop" });
  expect(find("10.0.0.7", "")).toMatchObject({ workload: "web-v1" });
  expect(find("10.0.0.8", shop)).toMatchObject({ workload: "", namespace: "shop" });
  expect(find("10.0.0.7", "spiffe://cluster.local/ns/other/sa/x")).toMatchObject({
    workload: "",
    namespace: "other",
  });
});
