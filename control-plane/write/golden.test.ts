import { join } from "node:path";
import { fromBinary, type JsonObject, toJson } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { parse, stringify } from "yaml";
import type { EndpointIr, WorkloadIr } from "#ir/index.ts";
import { casesIn, expectGolden, expectNoOrphans, readCase } from "#test/harness/golden.ts";
import { shortType } from "#xds/index.ts";
import { registry, write, writeEndpoints } from "./index.ts";

const folder = join(import.meta.dirname, "testdata");
const FILES = {
  Listener: "lds",
  RouteConfiguration: "rds",
  Cluster: "cds",
  ClusterLoadAssignment: "eds",
} as const;
const OUTPUTS = Object.values(FILES).map((f) => `.${f}.yaml`);

const SOURCE = {
  file: "a.yaml",
  line: 7,
  group: "g.io",
  version: "v1",
  kind: "Kind",
  namespace: "ns",
  name: "n",
};
const EMPTY: WorkloadIr = {
  kind: "sidecar",
  name: "pod-0",
  namespace: "default",
  ip: "10.244.0.5",
  labels: { app: "pod" },
  identity: {
    trustDomain: "td",
    namespace: "default",
    serviceAccount: "pod",
    spiffeId: "spiffe://td/ns/default/sa/pod",
  },
  interception: { kind: "transparent" },
  inbound: [],
  defaultMtls: "PERMISSIVE",
  authorization: { audit: [], deny: [], allow: [] },
  outboundHttp: [],
  httpServices: [],
  tcpServices: [],
  clusters: [],
  gatewayListeners: [],
  outboundMode: "ALLOW_ANY",
};
/** What a case need not say, by the key under which such an object stands. */
const DEFAULTS: Readonly<Record<string, object>> = {
  routes: {
    name: "",
    match: {},
    requestHeaders: null,
    responseHeaders: null,
    fault: null,
    cors: null,
    source: SOURCE,
  },
  match: { path: null, ignorePathCase: false, headers: [], query: [] },
  headers: { invert: false, ignoreCase: false },
  destinations: { weight: 1, requestHeaders: null, responseHeaders: null },
  cluster: { subset: "" },
  action: { rewritePath: null, rewriteHost: null, timeoutMs: 0, retry: null, mirrors: [] },
  redirect: { path: null, host: null, port: null, scheme: null, status: 301 },
  requestHeaders: { set: [], add: [], remove: [] },
  retry: {
    perTryTimeoutMs: null,
    on: [],
    statusCodes: [],
    backoffBaseMs: null,
    avoidPreviousHosts: false,
    otherLocalities: false,
  },
  fault: { delay: null, abort: null },
  clusters: {
    subset: "",
    service: { name: "shop", namespace: "default" },
    protocol: "http",
    endpoints: { kind: "eds", labels: {} },
    lb: { kind: "least-request" },
    tls: { kind: "plain" },
    pool: null,
    outlier: null,
    external: false,
    source: null,
  },
  pool: {
    maxConnections: null,
    connectTimeoutMs: null,
    tcpIdleTimeoutMs: null,
    maxConnectionDurationMs: null,
    keepalive: null,
    maxPendingRequests: null,
    maxRequests: null,
    maxRequestsPerConnection: null,
    maxRetries: null,
    httpIdleTimeoutMs: null,
    maxConcurrentStreams: null,
    upgradeToHttp2: false,
  },
  outlier: {
    consecutive5xx: null,
    consecutiveGatewayErrors: null,
    splitLocalOriginErrors: false,
    consecutiveLocalOriginFailures: null,
    intervalMs: null,
    baseEjectionMs: null,
    maxEjectionPercent: null,
    minHealthPercent: 0,
  },
  inbound: { servicePort: null, host: null, service: null, protocol: "http", mtls: "PERMISSIVE" },
  tcpServices: { addresses: [], sniHosts: [], tlsRoutes: [], http: null, source: null },
  policies: { namespace: "ns", rules: [], dryRun: false, source: SOURCE },
  rules: { from: [], to: [], when: [], index: 0, needsHttp: false, source: SOURCE },
  conditions: { values: [], notValues: [] },
  endpoint: { weight: 1, meshTls: false, ready: true, labels: {}, workload: null },
  gatewayListeners: { protocol: "http", name: "http", tls: null, source: SOURCE },
};
const ALIAS: Readonly<Record<string, string>> = {
  responseHeaders: "requestHeaders",
  audit: "policies",
  deny: "policies",
  allow: "policies",
  from: "conditions",
  to: "conditions",
  when: "conditions",
};

function complete(value: unknown, key: string): unknown {
  if (Array.isArray(value)) return value.map((v) => complete(v, key));
  if (typeof value !== "object" || value === null) return value;
  const kind = ALIAS[key] ?? key;
  const given = key === "action" && "kind" in value && value.kind === "redirect" ? "redirect" : kind;
  const full = { ...DEFAULTS[given], ...value };
  return Object.fromEntries(Object.entries(full).map(([k, v]) => [k, complete(v, k)]));
}

test.each(casesIn(folder, ".ir.yaml"))("%s: IR to xDS", (name) => {
  const text = readCase(folder, name, ".ir.yaml");
  const { endpoints, context, show, ...given } = parse(text) as JsonObject;
  const ir = { ...EMPTY, ...(complete(given, "") as object) } as WorkloadIr;
  const resources = write(ir, {
    flavour: "envoy-stock",
    accessLog: false,
    traceSampling: null,
    otlpPath: null,
    trustDomain: "td",
    ...(context as object),
  }).resources;
  for (const [cluster, list] of Object.entries(endpoints ?? {}))
    resources.push(writeEndpoints(cluster, complete(list, "endpoint") as EndpointIr[]));
  const names = new Set(show as string[]);
  for (const [type, file] of Object.entries(FILES)) {
    const shown = resources.filter((r) => shortType(r.typeUrl) === type && names.has(r.name));
    const json = shown.map((r) => {
      const schema = registry.getMessage(r.typeUrl.slice(r.typeUrl.indexOf("/") + 1))!;
      return toJson(schema, fromBinary(schema, r.bytes), { registry, useProtoFieldName: true });
    });
    const yaml = json.length === 0 ? "" : stringify(json, { lineWidth: 110, aliasDuplicateObjects: false });
    expectGolden(folder, `${name}.${file}.yaml`, yaml);
  }
});

test("no orphans, and every file shows something", () => {
  expectNoOrphans(folder, ".ir.yaml", OUTPUTS);
  for (const name of casesIn(folder, ".ir.yaml"))
    expect(
      OUTPUTS.some((out) => casesIn(folder, out).includes(name)),
      name,
    ).toBe(true);
});

test("a TCP idle timeout that changes reaches listeners of services that do not", () => {
  const given = parse(readCase(folder, "tcp-and-sni", ".ir.yaml")) as JsonObject;
  const ir = { ...EMPTY, ...(complete(given, "") as object) } as WorkloadIr;
  const context = { flavour: "weft", accessLog: false, traceSampling: null, otlpPath: null } as const;
  const listeners = (of: WorkloadIr) =>
    write(of, { ...context, trustDomain: "td" })
      .resources.filter((r) => shortType(r.typeUrl) === "Listener")
      .map((r) => [r.name, r.version] as const);
  const before = new Map(listeners(ir));
  const after = listeners({ ...ir, clusters: ir.clusters.map((c) => ({ ...c, pool: null })) });
  expect(after.filter(([name, version]) => before.get(name) !== version).map(([name]) => name)).toEqual([
    "10.96.0.9_3306",
    "0.0.0.0_443",
  ]);
});

test("an IR that is made anew and says the same gives the same listeners and clusters", () => {
  const context = { flavour: "weft", accessLog: true, traceSampling: null, otlpPath: null } as const;
  const port = {
    port: 80,
    servicePort: 80,
    host: null,
    service: null,
    protocol: "http",
    mtls: "STRICT",
  } as const;
  const made = () => write({ ...EMPTY, inbound: [{ ...port }] }, { ...context, trustDomain: "td" }).resources;
  const before = new Map(made().map((r) => [`${r.typeUrl} ${r.name}`, r]));
  const after = made().filter((r) => shortType(r.typeUrl) === "Listener");
  expect(after).not.toEqual([]);
  for (const r of after) expect(r).toBe(before.get(`${r.typeUrl} ${r.name}`));
});
