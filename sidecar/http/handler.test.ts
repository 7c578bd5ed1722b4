import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, request, type Server } from "node:http";
import { connect, createServer as createTcpServer } from "node:net";
import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { anyPack, type Duration, durationFromMs } from "@bufbuild/protobuf/wkt";
import { afterEach, expect, test } from "vitest";
import { createLogger } from "#lib/log.ts";
import { ClusterSchema } from "#xds/gen/envoy/config/cluster/v3/cluster_pb.js";
import { ListenerSchema } from "#xds/gen/envoy/config/listener/v3/listener_pb.js";
import { RouterSchema } from "#xds/gen/envoy/extensions/filters/http/router/v3/router_pb.js";
import { HttpConnectionManagerSchema } from "#xds/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { TYPE } from "#xds/index.ts";
import { ConfigStore } from "../config/store.ts";
import { DownstreamConnection } from "../http1/downstream.ts";
import { DataPlane } from "../proxy.ts";
import { connectionOptions } from "./connection-options.ts";
import { HttpHandler } from "./handler.ts";
import { Pools } from "./pools.ts";
import { NO_OBSERVER } from "./request-state.ts";
import { RetryBudget } from "./retry.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function app(status: number, seen: IncomingHttpHeaders[]): Promise<number> {
  const server: Server = createServer((q, r) => {
    seen.push(q.headers);
    r.writeHead(status).end(`${q.url}`);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  ends.push(() => server.close());
  return (server.address() as { port: number }).port;
}

const pack = <D extends DescMessage>(schema: D, init: MessageInitShape<D>) =>
  anyPack(schema, create(schema, init));
const at = (portValue: number) => ({
  address: {
    case: "socketAddress" as const,
    value: { address: "127.0.0.1", portSpecifier: { case: "portValue" as const, value: portValue } },
  },
});

interface Limits {
  readonly streamIdleTimeout?: Duration;
  readonly requestTimeout?: Duration;
  readonly requestHeadersTimeout?: Duration;
  readonly maxRequestHeadersKb?: number;
  readonly commonHttpProtocolOptions?: {
    readonly idleTimeout?: Duration;
    readonly maxConnectionDuration?: Duration;
    readonly maxStreamDuration?: Duration;
  };
}
interface RouteLimits {
  readonly idleTimeout?: Duration;
  readonly maxStreamDuration?: { readonly maxStreamDuration: Duration };
}

async function start(ports: number[], limits: Limits = {}, routeLimits: RouteLimits = {}) {
  const store = new ConfigStore();
  const toCluster = (cluster: string) => ({
    clusterSpecifier: { case: "cluster" as const, value: cluster },
    retryPolicy: {
      retryOn: "5xx",
      numRetries: 1,
      retryHostPredicate: [{ name: "envoy.retry_host_predicates.previous_hosts" }],
    },
    ...routeLimits,
  });
  const route = (prefix: string, cluster: string) => ({
    match: { pathSpecifier: { case: "prefix" as const, value: prefix } },
    action: { case: "route" as const, value: toCluster(cluster) },
  });
  const hcm = pack(HttpConnectionManagerSchema, {
    ...limits,
    statPrefix: "t",
    normalizePath: true,
    useRemoteAddress: true,
    routeSpecifier: {
      case: "routeConfig",
      value: {
        name: "r",
        virtualHosts: [
          { name: "v", domains: ["a.test"], routes: [route("/none", "gone"), route("/", "two")] },
        ],
      },
    },
    httpFilters: [
      {
        name: "envoy.filters.http.router",
        configType: { case: "typedConfig", value: pack(RouterSchema, {}) },
      },
    ],
  });
  const listener = pack(ListenerSchema, {
    name: "in",
    address: at(0),
    trafficDirection: 1,
    filterChains: [
      {
        name: "c",
        filters: [
          {
            name: "envoy.filters.network.http_connection_manager",
            configType: { case: "typedConfig", value: hcm },
          },
        ],
      },
    ],
  });
  const cluster = pack(ClusterSchema, {
    name: "two",
    clusterDiscoveryType: { case: "type", value: 0 },
    loadAssignment: {
      clusterName: "two",
      endpoints: [
        {
          lbEndpoints: ports.map((port) => ({
            hostIdentifier: { case: "endpoint" as const, value: { address: at(port) } },
          })),
        },
      ],
    },
  });
  expect(store.update({ typeUrl: TYPE.cluster, resources: [cluster] }).refused).toEqual([]);
  expect(store.update({ typeUrl: TYPE.listener, resources: [listener] }).refused).toEqual([]);
  const pools = new Pools();
  const retries = new RetryBudget();
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
      tcp: () => {},
      drainHttp: () => {},
      http: (accepted) => {
        const handler = new HttpHandler(accepted, {
          snapshot: () => store.current,
          secret: () => null,
          trustDomain: "cluster.local",
          identity: () => "",
          pools,
          retries,
          observer: NO_OBSERVER,
        });
        new DownstreamConnection(accepted.stream, handler, connectionOptions(accepted.chain.terminal));
      },
    },
    createLogger("test", "silent"),
  );
  expect(await plane.publish(store.current)).toEqual([]);
  ends.push(() => plane.drain(0));
  const { port } = plane.listeners.addresses()[0]!;
  const get = async (path: string, host = "a.test"): Promise<[number, string]> => {
    const headers = {
      host,
      "x-envoy-evil": "1",
      "x-forwarded-for": "10.9.9.9",
      "x-forwarded-proto": "https",
      "x-forwarded-client-cert": "URI=spiffe://x",
    };
    const sent = request({ port, host: "127.0.0.1", path, headers, agent: false }).end();
    const [response] = await once(sent, "response");
    let body = "";
    for await (const piece of response) body += piece;
    return [response.statusCode, body];
  };
  return { get, store, port };
}

test("two hosts: the failing one is retried at the other, and claims of the client are stripped", async () => {
  const seen: IncomingHttpHeaders[] = [];
  const bad: IncomingHttpHeaders[] = [];
  const { get, store } = await start([await app(503, bad), await app(200, seen)]);
  for (let i = 0; i < 6; i++) expect(await get("/x/../y?q=1")).toEqual([200, "/y?q=1"]);
  expect(seen.length).toBe(6);
  expect(bad.length).toBeGreaterThan(0);
  expect(seen[0]!["x-envoy-evil"]).toBe(undefined);
  expect(seen[0]!["x-forwarded-client-cert"]).toBe(undefined);
  expect(seen[0]!["x-forwarded-proto"]).toBe("http");
  expect(seen[0]!["x-forwarded-for"]).toBe("10.9.9.9,127.0.0.1");
  for (const host of store.current.clusters.get("two")!.hosts) expect(host.activeRequests).toBe(0);
});

test("local answers: no virtual host 404, no cluster 503, no host 503, bad path 400", async () => {
  const { get } = await start([]);
  expect((await get("/", "b.test"))[0]).toBe(404);
  expect((await get("/none"))[0]).toBe(503);
  expect(await get("/")).toEqual([503, "no healthy upstream"]);
  expect((await get("/%00"))[0]).toBe(400);
});

/** An application that takes a request and says nothing. */
async function silentApp(): Promise<number> {
  const server = createTcpServer((socket) => void socket.on("error", () => {}).resume()).listen(
    0,
    "127.0.0.1",
  );
  await once(server, "listening");
  ends.push(() => server.close());
  return (server.address() as { port: number }).port;
}

/** What comes back until the proxy ends the connection. */
async function conversation(port: number, text: string): Promise<string> {
  const socket = connect(port, "127.0.0.1", () => socket.write(text));
  let got = "";
  for await (const piece of socket) got += (piece as Buffer).toString("latin1");
  return got;
}

const soon = durationFromMs(100);
const GET = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
const POST = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\n";

test.each<[string, Limits, RouteLimits, string, string]>([
  ["stream_idle_timeout", { streamIdleTimeout: soon }, {}, "504", "stream timeout"],
  ["a route's idle_timeout", {}, { idleTimeout: soon }, "504", "stream timeout"],
  [
    "a route's max_stream_duration",
    {},
    { maxStreamDuration: { maxStreamDuration: soon } },
    "504",
    "duration",
  ],
  ["max_stream_duration", { commonHttpProtocolOptions: { maxStreamDuration: soon } }, {}, "504", "duration"],
])("%s of the configuration holds", async (_name, limits, routeLimits, status, body) => {
  const { get } = await start([await silentApp()], limits, routeLimits);
  const [got, text] = await get("/");
  expect([String(got), text]).toEqual([status, expect.stringContaining(body)]);
});

test.each<[string, Limits, string, RegExp]>([
  ["request_timeout", { requestTimeout: soon }, POST, /^HTTP\/1.1 408 [\s\S]*request timeout$/],
  ["request_headers_timeout", { requestHeadersTimeout: soon }, "GET / HT", /^HTTP\/1.1 408 /],
  [
    "max_request_headers_kb",
    { maxRequestHeadersKb: 1 },
    `${GET.slice(0, -2)}a: ${"b".repeat(1024)}`,
    /^HTTP\/1.1 431 /,
  ],
  ["idle_timeout", { commonHttpProtocolOptions: { idleTimeout: soon } }, GET, /^HTTP\/1.1 200 /],
  ["idle_timeout before a request", { commonHttpProtocolOptions: { idleTimeout: soon } }, "", /^$/],
  [
    "max_connection_duration",
    { commonHttpProtocolOptions: { maxConnectionDuration: soon } },
    GET,
    /^HTTP\/1.1 200 /,
  ],
])("%s of the configuration ends the connection", async (name, limits, text, answer) => {
  const backend = name === "request_timeout" ? await silentApp() : await app(200, []);
  const { port } = await start([backend], limits);
  expect(await conversation(port, text)).toMatch(answer);
});
