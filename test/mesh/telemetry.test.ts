/** Traces, metrics, access logs and admin pages of real requests, and what must never be in them. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { createRegistry, fromJson } from "@bufbuild/protobuf";
import { afterAll, describe, expect, test } from "vitest";
import { configRegistry } from "#sidecar/config/registry.ts";
import { onEachDataPlane } from "#test/harness/each-data-plane.ts";
import { parseExposition, type Sample } from "#test/harness/exposition.ts";
import { type ReceivedSpan, startOtlpReceiver } from "#test/harness/otlp-receiver.ts";
import {
  BootstrapConfigDumpSchema,
  ConfigDumpSchema,
  SecretsConfigDumpSchema,
} from "#xds/gen/envoy/admin/v3/config_dump_pb.js";
import {
  ClustersConfigDumpSchema,
  EndpointsConfigDumpSchema,
  ListenersConfigDumpSchema,
  RoutesConfigDumpSchema,
  ScopedRoutesConfigDumpSchema,
} from "#xds/gen/envoy/admin/v3/config_dump_shared_pb.js";
import { SecretSchema } from "#xds/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";

const root = join(import.meta.dirname, "../..");
const started = await startOtlpReceiver();
const receiver = "missing" in started ? null : started;
afterAll(() => receiver?.stop());
const args = receiver === null ? [] : ["--otlp-endpoint", receiver.endpoint];

type SpanView = Pick<ReceivedSpan, "spanId" | "parentSpanId" | "kind" | "service" | "name" | "attributes">;
const LAST_SPAN_MS = 15_000; // Envoy sends its spans every 5 s

/** `kind service name`, indented by depth, children in the order of their text. */
function tree(spans: readonly SpanView[]): string[] {
  const known = new Set(spans.map((s) => s.spanId));
  const below = (parent: (s: SpanView) => boolean, depth: number): string[] =>
    spans
      .filter(parent)
      .map((s) => [
        `${"  ".repeat(depth)}${s.kind} ${s.service} ${s.name}`,
        ...below((child) => child.parentSpanId === s.spanId, depth + 1),
      ])
      .sort((a, b) => (a[0]! < b[0]! ? -1 : 1))
      .flat();
  return below((s) => !known.has(s.parentSpanId), 0);
}

/** What both data planes make of one page with stars. */
const PAGE = [
  "client istio-ingressgateway.default GATEWAY",
  "  server productpage.default PRODUCTPAGE",
  "    server productpage GET /productpage",
  "      client productpage.default DETAILS",
  "        server details.default details.default.svc.cluster.local:9080/*",
  "          server details GET /details/0",
  "      client productpage.default REVIEWS",
  "        server reviews.default reviews.default.svc.cluster.local:9080/*",
  "          server reviews GET /reviews/0",
  "            client reviews.default RATINGS",
  "              server ratings.default ratings.default.svc.cluster.local:9080/*",
  "                server ratings GET /ratings/0",
];
/** Weft names a span after its own route; Envoy's proxies tell each other, and the caller's name wins. */
const SPAN_NAMES: Record<string, Record<string, string>> = {
  weft: {
    PRODUCTPAGE: "productpage.default.svc.cluster.local:9080/*",
    GATEWAY: "productpage.default.svc.cluster.local:9080/productpage",
    DETAILS: "details.default.svc.cluster.local:9080/*",
    REVIEWS: "reviews.default.svc.cluster.local:9080/*",
    RATINGS: "ratings.default.svc.cluster.local:9080/*",
  },
  envoy: {
    PRODUCTPAGE: "productpage.default.svc.cluster.local:9080/productpage",
    GATEWAY: "productpage.default.svc.cluster.local:9080/productpage",
    DETAILS: "details.default.svc.cluster.local:9080/*",
    REVIEWS: "reviews.default.svc.cluster.local:9080/*",
    RATINGS: "ratings.default.svc.cluster.local:9080/*",
  },
};

const CANARY = "weft-canary-9c1f";
/** A PKCS#8 key in PEM, in the open or in base64. */
const PRIVATE_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY|LS0tLS1CRUdJTiBQUklWQVRFIEtFW/;
const ISTIO_LINE =
  /^\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] "(\S+) (\S+) (\S+)" (\d+) (\S+) (\S+) (\S+) "([^"]*)" (\d+) (\d+) (\d+) (\S+) "([^"]*)" "([^"]*)" "([^"]*)" "([^"]*)" "([^"]*)" (\S+) (\S+) (\S+) (\S+) (\S+) (\S+)$/;

onEachDataPlane("bookinfo", { from: join(root, "examples/bookinfo"), args }, (mesh) => {
  const page = (userAgent: string, headers: Record<string, string> = {}, path = "/productpage") =>
    fetch(`${mesh().gateway}${path}`, { headers: { "user-agent": userAgent, ...headers } });
  const spansAt = async (traceId: string): Promise<SpanView[]> => {
    const text = await mesh().admin("control-plane", `/traces/${traceId}`);
    return (JSON.parse(text ?? "{}") as { spans?: SpanView[] }).spans ?? [];
  };
  /** The trace that a user agent's one request made. */
  const traceOf = async (userAgent: string): Promise<string | undefined> => {
    const text = await mesh().admin("control-plane", "/traces?limit=100");
    for (const { traceId } of (JSON.parse(text!) as { traces: { traceId: string }[] }).traces)
      if ((await spansAt(traceId)).some((s) => s.attributes["user_agent"] === userAgent)) return traceId;
    return undefined;
  };
  const stars = async (): Promise<void> => {
    mesh().edit("policies/reviews-canary.yaml", (text) =>
      text.replace("weight: 90", "weight: 0").replace("weight: 10\n", "weight: 100\n"),
    );
    // Several in a row: one could be the tenth that went there before.
    const versions = async (): Promise<Set<string | undefined>> => {
      const pages = await Promise.all(Array.from({ length: 5 }, async () => (await page("warm-up")).text()));
      return new Set(pages.map((html) => /reviews-(v\d)</.exec(html)?.[1]));
    };
    await expect.poll(versions, { timeout: 10_000 }).toEqual(new Set(["v2"]));
  };
  const lines = (workload: string): string[][] =>
    mesh()
      .log(mesh().pod(workload).name)
      .split("\n")
      .flatMap((line) => {
        const match = ISTIO_LINE.exec(line);
        return match === null ? [] : [Array.from(match, (part) => part ?? "")];
      });

  test("one page is one trace: gateway, services and their sidecars, nested as they called", async () => {
    await stars();
    expect((await page("one-page")).status).toBe(200);
    let traceId = "";
    await expect
      .poll(
        async () => {
          traceId = (await traceOf("one-page")) ?? "";
          return traceId === "" ? 0 : (await spansAt(traceId)).length;
        },
        { timeout: LAST_SPAN_MS, interval: 200 },
      )
      .toBe(PAGE.length);
    const names = SPAN_NAMES[mesh().dataPlane]!;
    const wanted = PAGE.map((line) => line.replace(/[A-Z]{5,}$/, (key) => names[key]!));
    const spans = await spansAt(traceId);
    expect(tree(spans)).toEqual(wanted);
    const gateway = spans.find((s) => s.parentSpanId === "")!;
    expect(gateway.attributes).toMatchObject({
      component: "proxy",
      node_id: expect.stringMatching(/^router~/),
      "http.method": "GET",
      "http.url": `${mesh().gateway}/productpage`,
      "http.protocol": "HTTP/1.1",
      "http.status_code": "200",
      response_flags: "-",
      user_agent: "one-page",
      upstream_cluster: "outbound|9080||productpage.default.svc.cluster.local",
      "guid:x-request-id": expect.stringMatching(/^[0-9a-f-]{14}9[0-9a-f-]{21}$/),
      "istio.canonical_service": "istio-ingressgateway",
      "istio.namespace": "default",
      "istio.mesh_id": "cluster.local",
    });
    const ids = new Set(spans.map((s) => s.attributes["guid:x-request-id"]).filter((id) => id !== undefined));
    expect(ids.size).toBe(1);

    if (receiver === null) return;
    // The same spans at a receiver that is not ours.
    const received = (): ReceivedSpan[] => receiver.spans.filter((s) => s.traceId === traceId);
    await expect.poll(() => received().length, { timeout: LAST_SPAN_MS }).toBe(PAGE.length);
    expect(receiver.problems).toEqual([]);
    expect(tree(received())).toEqual(wanted);
    for (const span of received()) expect(BigInt(span.endNs) >= BigInt(span.startNs)).toBe(true);
  }, 60_000);

  test("the sender's decision stands: no means none, yes keeps the trace and its parent", async () => {
    const trace = (n: number): string => `${n}`.repeat(32);
    const parent = "b7ad6b7169203331";
    await page("no", { traceparent: `00-${trace(7)}-${parent}-00` });
    await page("yes", { traceparent: `00-${trace(8)}-${parent}-01` });
    await expect
      .poll(async () => (await spansAt(trace(8))).length, { timeout: LAST_SPAN_MS, interval: 200 })
      .toBe(PAGE.length);
    const gateway = (await spansAt(trace(8))).find((s) => s.service === "istio-ingressgateway.default");
    expect(gateway?.parentSpanId).toBe(parent);
    expect(await spansAt(trace(7))).toEqual([]);
  }, 30_000);

  test("access log: a line per request in istiod's format, with id, flags and route", async () => {
    await page("for-the-log");
    await page("for-the-log", {}, "/no-such-page/");
    await fetch(`${mesh().gateway}/productpage`, { headers: { "user-agent": "for-the-log", host: "x" } });
    await expect
      .poll(() => lines("istio-ingressgateway").filter((l) => l[14] === "for-the-log").length, {
        timeout: 10_000, // Envoy writes its log every 10 s at the latest
      })
      .toBe(3);
    const [ok, missing] = lines("istio-ingressgateway").filter((l) => l[14] === "for-the-log");
    expect(ok!.slice(1, 7)).toEqual(["GET", "/productpage", "HTTP/1.1", "200", "-", "via_upstream"]);
    expect(ok![15]).toMatch(/^[0-9a-f-]{36}$/);
    expect(ok![17]).toBe(`${mesh().pod("productpage-v1").podIp}:9080`);
    expect(ok![18]).toBe("outbound|9080||productpage.default.svc.cluster.local");
    expect(missing!.slice(4, 7)).toEqual(["404", "NR", "route_not_found"]);
    // A caller without mTLS at a STRICT port meets no chain: the listener's log says why.
    await expect(fetch(`http://${mesh().pod("productpage-v1").podIp}:9080/`)).rejects.toThrow();
    await expect
      .poll(() => lines("productpage-v1").map((l) => l.slice(4, 7)), { timeout: 10_000 })
      .toContainEqual(["0", "NR", "filter_chain_not_found"]);
    // The callee writes the same id.
    await expect
      .poll(() => lines("productpage-v1").map((l) => l[15]), { timeout: 10_000 })
      .toContain(ok![15]);
    // Who asked the gateway is the callee's client too (X-Forwarded-For), then without a port.
    const callee = lines("productpage-v1").find((l) => l[15] === ok![15] && l[18]!.startsWith("inbound|"));
    // (For a client on loopback Envoy's gateway writes the machine's own address down.)
    if (mesh().dataPlane === "envoy") expect(callee![21]).toMatch(/:0$/);
    else expect(callee![21]).toBe(ok![21]!.replace(/:\d+$/, ":0"));
  }, 30_000);

  test("admin: pages that istioctl and pilot-agent read; the log level changes", async () => {
    const pod = mesh().pod("productpage-v1").name;
    const at = async (path: string): Promise<string> => (await mesh().admin(pod, path)) ?? "";
    expect(await at("/ready")).toBe("LIVE\n");
    const stats = await at(
      "/stats?usedonly&filter=^(cluster_manager.cds.update_success|listener_manager.lds.update_success|server.state|listener_manager.workers_started)$",
    );
    expect(stats.split("\n").filter(Boolean).sort()).toEqual([
      expect.stringMatching(/^cluster_manager\.cds\.update_success: [1-9]/),
      expect.stringMatching(/^listener_manager\.lds\.update_success: [1-9]/),
      "listener_manager.workers_started: 1",
      "server.state: 0",
    ]);
    const details = "outbound|9080||details.default.svc.cluster.local";
    const { podIp } = mesh().pod("details-v1");
    expect(await at("/clusters")).toContain(`${details}::${podIp}:9080::health_flags::healthy\n`);
    const clusters = JSON.parse(await at("/clusters?format=json")) as {
      cluster_statuses: { name: string; host_statuses: { address: object; health_status: object }[] }[];
    };
    expect(clusters.cluster_statuses.find((c) => c.name === details)?.host_statuses).toMatchObject([
      {
        address: { socket_address: { address: podIp, port_value: 9080 } },
        health_status: { eds_health_status: "HEALTHY" },
      },
    ]);
    const certs = JSON.parse(await at("/certs")) as {
      certificates: { cert_chain: { subject_alt_names: object[] }[] }[];
    };
    expect(certs.certificates[0]?.cert_chain[0]?.subject_alt_names).toEqual([
      { uri: "spiffe://cluster.local/ns/default/sa/bookinfo-productpage" },
    ]);
    const set = (level: string): Promise<number | undefined> =>
      new Promise((resolve, reject) => {
        const socketPath = join(mesh().stateDir, "pods", pod, "admin.sock");
        request({ socketPath, method: "POST", path: `/logging?level=${level}`, agent: false }, (response) => {
          response.resume().on("end", () => resolve(response.statusCode));
        })
          .on("error", reject)
          .end();
      });
    expect(await set("debug")).toBe(200);
    try {
      await expect(fetch(`http://${mesh().pod("productpage-v1").podIp}:9080/`)).rejects.toThrow();
      // What a refused connection met is said at debug alone.
      await expect
        .poll(() => mesh().log(pod), { timeout: 10_000 })
        .toMatch(mesh().dataPlane === "weft" ? /"level":"debug".*connection refused/ : /\[debug\]/);
    } finally {
      // Whatever failed: at debug Envoy writes whole request heads, and the secrets of the next test with them.
      expect(await set("info")).toBe(200);
    }
    expect(await at("/listeners")).toMatch(/::127\.\d+\.\d+\.\d+:9080\n/);
  });

  test("config_dump is an admin.v3.ConfigDump with every section; keys are words", async () => {
    const text = await mesh().admin(mesh().pod("productpage-v1").name, "/config_dump?include_eds");
    const registry = createRegistry(
      configRegistry(),
      BootstrapConfigDumpSchema,
      ClustersConfigDumpSchema,
      EndpointsConfigDumpSchema,
      ListenersConfigDumpSchema,
      RoutesConfigDumpSchema,
      ScopedRoutesConfigDumpSchema,
      SecretsConfigDumpSchema,
      SecretSchema,
    );
    const json = JSON.parse(text!) as { configs: Record<string, unknown>[] };
    const [bootstrap, ...rest] = json.configs;
    // Envoy's own bootstrap names extensions that are not generated here.
    fromJson(ConfigDumpSchema, { configs: rest } as never, {
      registry,
      ignoreUnknownFields: mesh().dataPlane === "envoy",
    });
    const sections = json.configs.map((c) => String(c["@type"]).split(".").at(-1));
    expect(sections).toEqual(
      expect.arrayContaining([
        "BootstrapConfigDump",
        "ClustersConfigDump",
        "EndpointsConfigDump",
        "ListenersConfigDump",
        "RoutesConfigDump",
        "SecretsConfigDump",
      ]),
    );
    expect(bootstrap).toMatchObject({ bootstrap: { node: { id: expect.stringMatching(/^sidecar~/) } } });
    const names = (section: string, list: string, of: (entry: never) => string): string[] =>
      ((json.configs.find((c) => String(c["@type"]).endsWith(`.${section}`))?.[list] ?? []) as never[]).map(
        of,
      );
    expect(
      names(
        "ClustersConfigDump",
        "dynamic_active_clusters",
        (c: { cluster: { name: string } }) => c.cluster.name,
      ),
    ).toContain("outbound|9080|v2|reviews.default.svc.cluster.local");
    expect(names("ListenersConfigDump", "dynamic_listeners", (l: { name: string }) => l.name)).toContain(
      `${mesh().pod("productpage-v1").podIp}_9080`,
    );
    expect(
      names(
        "RoutesConfigDump",
        "dynamic_route_configs",
        (r: { route_config: { name: string } }) => r.route_config.name,
      ),
    ).toContain("9080");
    expect(
      names("SecretsConfigDump", "dynamic_active_secrets", (s: { name: string }) => s.name).sort(),
    ).toEqual(["ROOTCA", "default"]);
    expect(text).toContain(Buffer.from("[redacted]").toString("base64"));
    expect(text).not.toMatch(PRIVATE_KEY);
  });

  test("secrets of requests are in no log, span, page or metric", async () => {
    const bearer = `Bearer ${CANARY}`;
    await page("canary", { authorization: bearer, cookie: `session=${CANARY}` });
    await page("canary", { authorization: bearer }, "/no-such-page");
    await expect
      .poll(() => lines("productpage-v1").some((l) => l[14] === "canary"), { timeout: 10_000 })
      .toBe(true);
    await expect.poll(() => traceOf("canary"), { timeout: LAST_SPAN_MS, interval: 200 }).toBeDefined();
    const leaks: string[] = [];
    const look = (where: string, text: string | null): void => {
      if (text === null || text.includes(CANARY) || PRIVATE_KEY.test(text)) leaks.push(where);
    };
    for (const workload of ["istio-ingressgateway", "productpage-v1", "details-v1", "reviews-v2"]) {
      const { name } = mesh().pod(workload);
      for (const path of [
        "config_dump?include_eds",
        "stats",
        "stats/prometheus",
        "clusters",
        "certs",
        "server_info",
      ])
        look(`${name} /${path}`, await mesh().admin(name, `/${path}`));
    }
    for (const file of readdirSync(mesh().stateDir, { recursive: true, encoding: "utf8" })) {
      const path = join(mesh().stateDir, file);
      // The certificate authority and the token issuer keep their keys in files of their own, 0600.
      if (!statSync(path).isFile() || /^(ca\/|tokens\.key)/.test(file)) continue;
      look(file, readFileSync(path, "latin1"));
    }
    look("the receiver", JSON.stringify(receiver?.spans ?? []));
    expect(leaks).toEqual([]);
  }, 40_000);

  describe("metrics", () => {
    const scrape = async (workload: string): Promise<Sample[]> => {
      const { podIp } = mesh().pod(workload);
      const response = await fetch(`http://${podIp}:15090/stats/prometheus`);
      expect(response.headers.get("content-type")).toMatch(/^text\/plain/);
      return parseExposition(await response.text());
    };

    test("both sides of a call count it, with the labels of both", async () => {
      if (mesh().dataPlane === "envoy") {
        // A stock Envoy lacks istio.stats; that its own page reads well is a word on the reader here.
        expect((await scrape("productpage-v1")).length).toBeGreaterThan(1000);
        return;
      }
      const find = (samples: readonly Sample[], labels: Record<string, string>): number =>
        samples
          .filter((s) => s.name === "istio_requests_total")
          .filter((s) => Object.entries(labels).every(([k, v]) => s.labels[k] === v))
          .reduce((sum, s) => sum + s.value, 0);
      const details = {
        destination_workload: "details-v1",
        destination_app: "details",
        destination_version: "v1",
        destination_service: "details.default.svc.cluster.local",
        destination_service_name: "details",
        destination_service_namespace: "default",
        destination_principal: "spiffe://cluster.local/ns/default/sa/bookinfo-details",
        source_principal: "spiffe://cluster.local/ns/default/sa/bookinfo-productpage",
        source_workload_namespace: "default",
        request_protocol: "http",
        response_code: "200",
        response_flags: "-",
      };
      const asSource = { ...details, reporter: "source", source_workload: "productpage-v1" };
      const asDestination = {
        ...asSource,
        reporter: "destination",
        connection_security_policy: "mutual_tls",
      };
      const before = [
        find(await scrape("productpage-v1"), asSource),
        find(await scrape("details-v1"), asDestination),
      ];
      for (let i = 0; i < 5; i++) await page("metrics");
      expect(find(await scrape("productpage-v1"), asSource)).toBe(before[0]! + 5);
      expect(find(await scrape("details-v1"), asDestination)).toBe(before[1]! + 5);
      await page("metrics", {}, "/no-such-page/");
      const gateway = await scrape("istio-ingressgateway");
      expect(
        find(gateway, { response_code: "404", response_flags: "NR", reporter: "source" }),
      ).toBeGreaterThan(0);
      for (const family of [
        "istio_request_duration_milliseconds",
        "istio_request_bytes",
        "istio_response_bytes",
      ])
        expect(gateway.some((s) => s.name === `${family}_count` && s.value > 0)).toBe(true);
      expect(gateway.find((s) => s.name === "weft_xds_connected")?.value).toBe(1);
    });

    test("the scrape address has nothing but metrics", async () => {
      const { podIp } = mesh().pod("productpage-v1");
      for (const path of ["/config_dump", "/logging?level=debug", "/"])
        expect((await fetch(`http://${podIp}:15090${path}`)).status).toBe(404);
    });
  });
});
