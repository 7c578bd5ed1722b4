import { once } from "node:events";
import { mkdtempSync, readFileSync } from "node:fs";
import { createServer as createHttpServer, type IncomingHttpHeaders, request } from "node:http";
import { type AddressInfo, connect, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBinary, fromJson, type JsonObject } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { afterEach, expect, test } from "vitest";
import { createLogger } from "#lib/log.ts";
import {
  Span_SpanKind,
  Status_StatusCode,
  TracesDataSchema,
  type Span as WireSpan,
} from "#xds/gen/opentelemetry/proto/trace/v1/trace_pb.js";
import { TYPE } from "#xds/index.ts";
import { configRegistry } from "../config/registry.ts";
import { ConfigStore } from "../config/store.ts";
import { HttpHandler } from "../http/handler.ts";
import { Pools } from "../http/pools.ts";
import { RetryBudget } from "../http/retry.ts";
import { DownstreamConnection } from "../http1/downstream.ts";
import { DataPlane } from "../proxy.ts";
import { serveTcp } from "../tcp/terminal.ts";
import { ProcessTelemetry } from "./process-telemetry.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

const T = "0af7651916cd43dd8448eb211c80319c";
const S = "b7ad6b7169203331";
const registry = configRegistry();
const any = (json: JsonObject): Any => fromJson(AnySchema, json, { registry });
const EXTENSION = "type.googleapis.com/envoy.extensions.";

interface World {
  /** Fields of the connection manager, over the defaults. */
  readonly hcm?: JsonObject;
  /** The same of the TCP proxy. */
  readonly tcp?: JsonObject;
  readonly tracing?: JsonObject | null;
  readonly direction?: "INBOUND" | "OUTBOUND";
}

/** 0 instead of a status: no answer. */
async function listenHttp(answer: (url: string) => number, seen: IncomingHttpHeaders[]): Promise<number> {
  const server = createHttpServer((q, r) => {
    seen.push(q.headers);
    const status = answer(q.url ?? "");
    if (status > 0) r.writeHead(status).end("hello");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  ends.push(() => {
    server.close();
    server.closeAllConnections();
  });
  return (server.address() as AddressInfo).port;
}

/** An OTLP/HTTP collector on the generated messages. */
async function collector(): Promise<{ port: number; spans: WireSpan[]; services: Set<string> }> {
  const spans: WireSpan[] = [];
  const services = new Set<string>();
  const server = createHttpServer(async (q, r) => {
    const parts: Buffer[] = [];
    for await (const part of q) parts.push(part as Buffer);
    for (const { resource, scopeSpans } of fromBinary(TracesDataSchema, Buffer.concat(parts)).resourceSpans) {
      services.add(String(resource?.attributes.find((a) => a.key === "service.name")?.value?.value.value));
      for (const scope of scopeSpans) spans.push(...scope.spans);
    }
    r.writeHead(q.url === "/custom/traces" ? 200 : 404, { "content-type": "application/x-protobuf" }).end();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  ends.push(() => {
    server.close();
    server.closeAllConnections();
  });
  return { port: (server.address() as AddressInfo).port, spans, services };
}

const at = (port: number, address = "127.0.0.1"): JsonObject => ({
  socket_address: { address, port_value: port },
});

function cluster(name: string, ports: readonly number[]): Any {
  return any({
    "@type": TYPE.cluster,
    name,
    type: "STATIC",
    metadata: { filter_metadata: { istio: { services: [{ host: `${name}.test`, name, namespace: "ns" }] } } },
    load_assignment: {
      cluster_name: name,
      endpoints: [
        {
          lb_endpoints: ports.map((port) => ({
            endpoint: { address: at(port) },
            metadata: { filter_metadata: { istio: { workload: `${name}-w;ns;${name}-c;v7;Kubernetes` } } },
          })),
        },
      ],
    },
  });
}

async function proxy(world: World = {}, answer: (url: string) => number = () => 200) {
  const seen: IncomingHttpHeaders[] = [];
  const collected = await collector();
  const appPort = await listenHttp(answer, seen);
  const dead = createTcpServer().listen(0, "127.0.0.1");
  await once(dead, "listening");
  const deadPort = (dead.address() as AddressInfo).port;
  dead.close();
  const echo = createTcpServer((s) => s.on("error", () => s.destroy()).pipe(s)).listen(0, "127.0.0.1");
  await once(echo, "listening");
  ends.push(() => echo.close());

  const provider: JsonObject = {
    name: "envoy.tracers.opentelemetry",
    typed_config: {
      "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
      http_service: { http_uri: { uri: "http://otel/custom/traces", cluster: "collector", timeout: "1s" } },
      service_name: "unit.ns",
    },
  };
  const toCluster = (name: string, more: JsonObject = {}): JsonObject => ({
    name: `to-${name}`,
    match: { prefix: `/${name}` },
    route: { cluster: name, ...more },
    decorator: { operation: `${name}.test:80/*` },
  });
  const listener = (name: string, address: string, filter: JsonObject): Any =>
    any({
      "@type": TYPE.listener,
      name,
      address: at(0, address),
      traffic_direction: world.direction ?? "OUTBOUND",
      filter_chains: [{ filters: [filter] }],
    });
  const hcm: JsonObject = {
    name: "envoy.filters.network.http_connection_manager",
    typed_config: {
      "@type": `${EXTENSION}filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: "t",
      route_config: {
        name: "r",
        virtual_hosts: [
          {
            name: "v",
            domains: ["a.test"],
            routes: [
              toCluster("app"),
              toCluster("mixed", { retry_policy: { retry_on: "connect-failure", num_retries: 5 } }),
              toCluster("dead"),
              toCluster("empty"),
            ],
          },
        ],
      },
      http_filters: [
        {
          name: "envoy.filters.http.router",
          typed_config: { "@type": `${EXTENSION}filters.http.router.v3.Router` },
        },
      ],
      ...(world.tracing === null
        ? {}
        : {
            tracing: {
              client_sampling: { value: 100 },
              random_sampling: { value: 100 },
              overall_sampling: { value: 100 },
              provider,
              ...world.tracing,
            },
          }),
      ...world.hcm,
    },
  };
  const tcp: JsonObject = {
    name: "envoy.filters.network.tcp_proxy",
    typed_config: {
      "@type": `${EXTENSION}filters.network.tcp_proxy.v3.TcpProxy`,
      stat_prefix: "t",
      cluster: "echo",
      ...world.tcp,
    },
  };
  const store = new ConfigStore();
  const clusters = [
    cluster("app", [appPort]),
    cluster("mixed", [deadPort, appPort]),
    cluster("dead", [deadPort]),
    cluster("empty", []),
    cluster("echo", [(echo.address() as AddressInfo).port]),
    cluster("collector", [collected.port]),
  ];
  expect(store.update({ typeUrl: TYPE.cluster, resources: clusters }).refused).toEqual([]);
  const listeners = [listener("http", "127.0.0.1", hcm), listener("tcp", "127.0.0.2", tcp)];
  expect(store.update({ typeUrl: TYPE.listener, resources: listeners }).refused).toEqual([]);
  const telemetry = new ProcessTelemetry({
    node: {
      id: "sidecar~10.0.0.9~me.ns~ns.svc.cluster.local",
      cluster: "me.ns",
      metadata: { NAMESPACE: "ns", WORKLOAD_NAME: "me-v1", LABELS: { app: "me" }, CLUSTER_ID: "Kubernetes" },
      locality: { zone: "z1" },
    },
    trustDomain: "cluster.local",
    identity: () => "",
    snapshot: () => store.current,
    secret: () => null,
    log: createLogger("test", "silent"),
  });
  const shared = {
    snapshot: () => store.current,
    secret: () => null,
    trustDomain: "cluster.local",
    identity: () => "",
    pools: new Pools(),
    retries: new RetryBudget(),
    observer: telemetry.http,
  };
  const plane = new DataPlane(
    {
      trustDomain: "cluster.local",
      secret: () => null,
      denied: () => {},
      refused: () => {},
      undetected: () => {},
      unmatched: () => {},
    },
    {
      drainHttp: () => {},
      tcp: (accepted, config) =>
        serveTcp(
          accepted,
          config,
          store.current,
          null,
          "cluster.local",
          telemetry.tcp.begin(accepted, config, store.current),
        ),
      http: (accepted) =>
        void new DownstreamConnection(accepted.stream, new HttpHandler(accepted, shared), {
          headTimeoutMs: 5000,
          lingerMs: 100,
        }),
    },
    createLogger("test", "silent"),
  );
  expect(await plane.publish(store.current)).toEqual([]);
  ends.push(() => plane.drain(0));
  const portOf = (name: string): number => plane.listeners.addresses().find((a) => a.name === name)!.port;
  const get = async (path: string, headers: IncomingHttpHeaders = {}, host = "a.test"): Promise<number> => {
    const options = { port: portOf("http"), host: "127.0.0.1", path, agent: false };
    const sent = request({ ...options, headers: { host, ...headers } }).end();
    const [response] = await once(sent, "response");
    response.resume();
    await once(response, "end");
    return response.statusCode;
  };
  /** The spans sent since the last call. */
  const spans = async (): Promise<WireSpan[]> => {
    await telemetry.close();
    return collected.spans.splice(0);
  };
  return { get, seen, spans, telemetry, portOf, services: collected.services };
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const attributes = (span: WireSpan): Record<string, unknown> =>
  Object.fromEntries(span.attributes.map((a) => [a.key, a.value?.value.value]));

test("a root: id, trace context and span agree, at the collector that the provider's cluster names", async () => {
  const customTags: JsonObject[] = [
    { tag: "fixed", literal: { value: "f" } },
    { tag: "from-header", request_header: { name: "X-Tenant", default_value: "none" } },
    { tag: "other-header", request_header: { name: "x-other", default_value: "none" } },
  ];
  const { get, seen, spans, services } = await proxy({ tracing: { custom_tags: customTags } });
  expect(await get("/app?q=1", { "x-tenant": "blue", "user-agent": "unit" })).toBe(200);
  const [span, ...more] = await spans();
  expect(more).toEqual([]);
  expect([...services]).toEqual(["unit.ns"]);
  expect(span).toMatchObject({ name: "app.test:80/*", kind: Span_SpanKind.CLIENT });
  expect(span!.parentSpanId).toHaveLength(0);
  expect(seen[0]!["traceparent"]).toBe(`00-${hex(span!.traceId)}-${hex(span!.spanId)}-01`);
  expect(seen[0]!["x-request-id"]).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-9/);
  expect(attributes(span!)).toMatchObject({
    "guid:x-request-id": seen[0]!["x-request-id"],
    "http.url": "http://a.test/app?q=1",
    "http.method": "GET",
    "http.status_code": "200",
    "upstream_cluster.name": "app;",
    zone: "z1",
    user_agent: "unit",
    response_size: "5",
    fixed: "f",
    "from-header": "blue",
    "other-header": "none",
  });
  expect(span!.endTimeUnixNano > span!.startTimeUnixNano).toBe(true);
  expect(Math.abs(Number(span!.endTimeUnixNano / 1_000_000n) - Date.now())).toBeLessThan(60_000);
});

test("a sampled parent is continued with its state, in W3C and in the B3 form it came in", async () => {
  const { get, seen, spans } = await proxy({
    direction: "INBOUND",
    tracing: { random_sampling: { value: 0 } },
  });
  await get("/app", { traceparent: `00-${T}-${S}-01`, tracestate: "a=b", "x-request-id": "mine" });
  await get("/app", { b3: `${T}-${S}-1` });
  await get("/app", { "x-b3-traceid": T, "x-b3-spanid": S, "x-b3-flags": "1" });
  const sent = await spans();
  expect(sent.map((s) => [hex(s.traceId), hex(s.parentSpanId), s.kind])).toEqual(
    Array(3).fill([T, S, Span_SpanKind.SERVER]),
  );
  const ids = sent.map((s) => hex(s.spanId));
  expect(new Set(ids).size).toBe(3);
  expect(seen.map((h) => h["traceparent"])).toEqual(ids.map((id) => `00-${T}-${id}-01`));
  expect(seen[0]).toMatchObject({ tracestate: "a=b", "x-request-id": "mine" });
  expect(seen[1]!["b3"]).toBe(`${T}-${ids[1]}-1`);
  expect(seen[2]).toMatchObject({ "x-b3-spanid": ids[2], "x-b3-parentspanid": S, "x-b3-sampled": "1" });
  expect(seen[2]!["x-b3-flags"]).toBe(undefined);
});

test("B3 that brings a decision and no trace: against it nothing begins, for it a trace does, told in B3 too", async () => {
  const never = await proxy({ tracing: { random_sampling: { value: 0 } } });
  await never.get("/app", { b3: "1" });
  await never.get("/app", { b3: "d" });
  await never.get("/app", { "x-b3-sampled": "1" });
  await never.get("/app", { "x-b3-flags": "1" });
  const sent = await never.spans();
  expect(sent).toHaveLength(4);
  const told = (i: number) => `${hex(sent[i]!.traceId)}-${hex(sent[i]!.spanId)}`;
  expect(never.seen.map((h) => h["traceparent"])).toEqual([0, 1, 2, 3].map((i) => `00-${told(i)}-01`));
  expect([0, 1].map((i) => never.seen[i]!["b3"])).toEqual([0, 1].map((i) => `${told(i)}-1`));
  for (const i of [2, 3])
    expect(never.seen[i]).toMatchObject({ "x-b3-traceid": hex(sent[i]!.traceId), "x-b3-sampled": "1" });
  const always = await proxy({ tracing: { random_sampling: { value: 100 } } });
  for (const headers of [{ b3: "0" }, { "x-b3-sampled": "0" }, { "x-b3-sampled": "false" }]) {
    await always.get("/app", headers as unknown as Record<string, string>);
    expect(always.seen.at(-1)).toMatchObject(headers);
    expect(always.seen.at(-1)).not.toHaveProperty("traceparent");
  }
  await always.get("/app");
  expect(await always.spans()).toHaveLength(1);
});

test("not sampled: no span; a root says so to the next hop, a decision that came passes untouched", async () => {
  const { get, seen, spans } = await proxy({ tracing: { random_sampling: { value: 0 } } });
  await get("/app");
  await get("/app", { traceparent: `00-${T}-${S}-00` });
  await get("/app", { traceparent: "00-broken", tracestate: "a=b" });
  expect(await spans()).toEqual([]);
  expect(seen[0]!["traceparent"]).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
  expect(seen[0]!["x-request-id"]![14]).toBe("4");
  expect(seen[1]!["traceparent"]).toBe(`00-${T}-${S}-00`);
  expect(seen[2]!["traceparent"]).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
  expect(seen[2]!["tracestate"]).toBe(undefined);
});

test("without trace headers the request id decides: Envoy's mark, then its own point below the percentage", async () => {
  const { get, spans } = await proxy({ tracing: { random_sampling: { value: 50 } } });
  const marked = "ffffffff-ffff-9fff-8fff-ffffffffffff";
  const below = `${(4999).toString(16).padStart(8, "0")}-0000-4000-8000-000000000000`;
  const above = `${(5000).toString(16).padStart(8, "0")}-0000-4000-8000-000000000000`;
  for (const id of [marked, below, above]) await get("/app", { "x-request-id": id });
  const ids = (await spans()).map((s) => attributes(s)["guid:x-request-id"]);
  expect(ids).toEqual([marked, below]);
});

test("no provider: trace headers pass through, request ids are still made", async () => {
  const { get, seen, spans } = await proxy({ tracing: null });
  await get("/app", { traceparent: `00-${T}-${S}-01`, b3: `${T}-${S}-1` });
  await get("/app");
  expect(await spans()).toEqual([]);
  expect(seen[0]).toMatchObject({ traceparent: `00-${T}-${S}-01`, b3: `${T}-${S}-1` });
  expect(seen[1]!["traceparent"]).toBe(undefined);
  expect(seen[1]!["x-request-id"]).toMatch(/^[0-9a-f-]{36}$/);
});

test.each([
  ["inside, the id of the caller stays", {}, "mine"],
  ["at the edge it is replaced", { use_remote_address: true }, null],
  [
    "at the edge it stays where that is asked for",
    { use_remote_address: true, preserve_external_request_id: true },
    "mine",
  ],
  ["nothing is made where that is off", { generate_request_id: false }, "mine"],
] as const)("request id: %s", async (_what, hcm, kept) => {
  const { get, seen } = await proxy({ hcm });
  await get("/app", { "x-request-id": "mine" });
  await get("/app");
  if (kept === null) expect(seen[0]!["x-request-id"]).toMatch(/^[0-9a-f-]{36}$/);
  else expect(seen[0]!["x-request-id"]).toBe(kept);
  if ("generate_request_id" in hcm) expect(seen[1]!["x-request-id"]).toBe(undefined);
  else expect(seen[1]!["x-request-id"]).toMatch(/^[0-9a-f-]{36}$/);
});

test("metrics and spans tell failures apart by flag; what a retry healed is none", async () => {
  const { get, spans, telemetry } = await proxy({}, (url) => (url === "/app/500" ? 500 : 200));
  expect(await get("/app/500")).toBe(500);
  expect(await get("/dead")).toBe(503);
  expect(await get("/empty")).toBe(503);
  expect(await get("/nowhere", {}, "b.test")).toBe(404);
  for (let i = 0; i < 4; i++) expect(await get("/mixed")).toBe(200);
  const counted = [...telemetry.registry.values()].flatMap(([name, value]) => {
    const found =
      /^istio_requests_total.*destination_workload="([^"]*)".*destination_service="([^"]*)".*response_code="(\d+)".*response_flags="([^"]*)"/.exec(
        name,
      );
    return found === null ? [] : [[...found.slice(1), value].join(" ")];
  });
  expect(counted.sort()).toEqual([
    "app-w app.test 500 - 1",
    "dead-w dead.test 503 UF 1",
    "mixed-w mixed.test 200 - 4",
    "unknown empty.test 503 UH 1",
    "unknown unknown 404 NR 1",
  ]);
  const failed = (await spans()).filter((s) => s.status?.code === Status_StatusCode.ERROR);
  expect(failed.map((s) => attributes(s)["response_flags"])).toEqual(["-", "UF", "UH", "NR"]);
});

test("what is refused before it is routed is counted and logged, with the status that the client saw", async () => {
  const file = join(mkdtempSync(join(tmpdir(), "weft-log-")), "access.log");
  const accessLog: JsonObject = {
    name: "envoy.access_loggers.file",
    typed_config: {
      "@type": `${EXTENSION}access_loggers.file.v3.FileAccessLog`,
      path: file,
      log_format: {
        text_format_source: {
          inline_string: "%REQ(:METHOD)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n",
        },
      },
    },
  };
  const { portOf, telemetry } = await proxy({ hcm: { access_log: [accessLog], normalize_path: true } });
  const say = async (text: string): Promise<string> => {
    const socket = connect(portOf("http"), "127.0.0.1");
    socket.write(text);
    const [answer] = (await once(socket, "data")) as [Buffer];
    socket.destroy();
    return answer.toString("latin1", 9, 12);
  };
  expect(await say("GARBAGE\r\n\r\n")).toBe("400");
  expect(await say("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")).toBe("400");
  const chunked = "POST /app HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
  expect(await say(`${chunked}Z\r\n`)).toBe("400");
  expect(await say("GET /%00 HTTP/1.1\r\nHost: a.test\r\n\r\n")).toBe("400");
  await telemetry.close();
  await expect.poll(() => readFileSync(file, "utf8").split("\n").length).toBe(5);
  expect(readFileSync(file, "utf8").split("\n")).toEqual([
    "- 400 DPE http1.codec_error",
    "GET 400 DPE http1.invalid_authority",
    "POST 400 DPE http1.codec_error",
    "GET 400 - path_normalization_failed",
    "",
  ]);
  const counted = [...telemetry.registry.values()].flatMap(([name, value]) => {
    const found = /^istio_requests_total.*response_code="(\d+)".*response_flags="([^"]*)"/.exec(name);
    return found === null ? [] : [[...found.slice(1), value].join(" ")];
  });
  expect(counted.sort()).toEqual(["400 - 1", "400 DPE 2", "400 DPE 1"].sort());
});

test("a collector that is gone costs spans, which are counted, and no request", async () => {
  const { get, telemetry } = await proxy({
    tracing: {
      provider: {
        name: "envoy.tracers.opentelemetry",
        typed_config: {
          "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
          http_service: { http_uri: { uri: "http://otel/v1/traces", cluster: "gone", timeout: "1s" } },
        },
      },
    },
  });
  expect(await get("/app")).toBe(200);
  await telemetry.close();
  expect(telemetry.spansLost).toBe(1);
}, 20_000);

test("TCP: connections and bytes count while they are open", async () => {
  const { portOf, telemetry } = await proxy();
  const value = (family: string): number =>
    [...telemetry.registry.values()]
      .filter(([name]) => name.startsWith(`${family}{`) && name.includes('destination_service="echo.test"'))
      .reduce((sum, [, n]) => sum + n, 0);
  const socket = connect(portOf("tcp"), "127.0.0.2");
  socket.write("12345");
  await once(socket, "data");
  telemetry.collect();
  expect(value("istio_tcp_connections_opened_total")).toBe(1);
  expect(value("istio_tcp_received_bytes_total")).toBe(5);
  expect(value("istio_tcp_sent_bytes_total")).toBe(5);
  expect(value("istio_tcp_connections_closed_total")).toBe(0);
  socket.end();
  await once(socket, "close");
  await expect.poll(() => value("istio_tcp_connections_closed_total")).toBe(1);
  telemetry.collect();
  expect(value("istio_tcp_received_bytes_total")).toBe(5);
});

test("TCP: idle_timeout of the configuration ends a silent connection", async () => {
  const { portOf } = await proxy({ tcp: { idle_timeout: "0.1s" } });
  const socket = connect(portOf("tcp"), "127.0.0.2").on("error", () => {});
  socket.write("12345");
  await once(socket, "data");
  await new Promise((resolve) => socket.once("close", resolve));
});

test("stream_idle_timeout counts with the flag SI", async () => {
  const { portOf, telemetry } = await proxy({ hcm: { stream_idle_timeout: "0.1s" } }, () => 0);
  const socket = connect(portOf("http"), "127.0.0.1").on("error", () => {});
  socket.write("POST /app HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\n");
  socket.resume();
  await new Promise((resolve) => socket.once("close", resolve));
  const found = [...telemetry.registry.values()].filter(([name]) => name.startsWith("istio_requests_total"));
  expect(found.map(([name]) => /response_code="408".*response_flags="SI"/.test(name))).toEqual([true]);
});
