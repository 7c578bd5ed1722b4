import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseConfig } from "../config.ts";
import { resourcesFor, toWorld } from "../pipeline.ts";
import { type FileSource, watchFiles } from "../sources/file.ts";
import { TraceStore } from "../traces/index.ts";
import { createAdminServer } from "./server.ts";

const NODE = "sidecar~10.244.0.5~a.default~default.svc.cluster.local";
const BASE = `apiVersion: v1
kind: Pod
metadata: {name: a, namespace: default, labels: {app: reviews}}
spec: {serviceAccountName: reviews, containers: [{name: c, ports: [{containerPort: 9080}]}]}
status: {phase: Running, podIP: 10.244.0.5, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {clusterIP: 10.96.0.7, selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
`;
const vs = (name: string, timeout = "1s") => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}, namespace: default}
spec: {hosts: [reviews], http: [{timeout: ${timeout}, route: [{destination: {host: reviews}}]}]}
---
`;

let dir: string;
let source: FileSource;
let server: ReturnType<typeof createAdminServer>;

async function call(method: string, path: string, body = "") {
  const response = await new Promise<IncomingMessage>((done, fail) =>
    httpRequest({ socketPath: join(dir, "admin.sock"), method, path }, done)
      .on("error", fail)
      .end(body),
  );
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return { status: response.statusCode, body: JSON.parse(Buffer.concat(chunks).toString()) };
}
const applied = () => readdirSync(dir).includes("applied") && readdirSync(join(dir, "applied"));

let traces: TraceStore;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "weft-admin-"));
  mkdirSync(join(dir, "paths"));
  writeFileSync(join(dir, "paths", "base.yaml"), BASE + vs("reviews"));
  const config = parseConfig(
    JSON.stringify({
      paths: [join(dir, "paths")],
      stateDir: dir,
      listen: { grpc: [], admin: "unix:a", otlp: "unix:/run/o" },
    }),
    "c.json",
  );
  const change = () => {
    world = toWorld(source.objects(), config);
  };
  source = watchFiles([...config.paths, join(dir, "applied")], change, { renamed: join(dir, "applied") });
  let world = toWorld(source.objects(), config);
  traces = new TraceStore(":memory:");
  const node = {
    ip: "10.244.0.5",
    namespace: "default",
    serviceAccount: null,
    flavour: "envoy-stock",
  } as const;
  server = createAdminServer({
    config,
    world: () => world,
    objects: source.objects,
    issues: source.issues,
    awaited: source.awaited,
    proxies: () => [
      {
        nodeId: NODE,
        connected: true,
        variant: "delta",
        connectedAt: 0,
        types: { t: { sent: "1", acked: "", nack: "no" } as never },
      },
    ],
    answers: () => async () => {},
    failures: () => new Map(),
    resources: () => new Map([[NODE, resourcesFor(world, node, config)!.resources]]),
    traces,
    reload: source.reload,
  });
  await new Promise<void>((done) => server.listen(join(dir, "admin.sock"), done));
});
afterEach(() => {
  source.close();
  server.close();
  traces.close();
  rmSync(dir, { recursive: true });
});

describe("admin", () => {
  it("answers healthz, status, world, and 404 for the rest", async () => {
    expect(await call("GET", "/healthz")).toEqual({ status: 200, body: { ok: true } });
    const status = (await call("GET", "/status")).body;
    expect(status.proxies).toEqual([
      { nodeId: NODE, connected: true, types: { t: { sent: "1", acked: "", nack: "no", policies: [] } } },
    ]);
    const world = (await call("GET", "/world")).body;
    expect(world).toMatchObject({ version: status.world, counts: { Pod: 1, Service: 1, VirtualService: 1 } });
    expect(world.errors).toEqual([]);
    expect((await call("GET", "/nothing")).status).toBe(404);
    expect((await call("GET", "/xds/%zz")).status).toBe(400);
  });
  it("prints a proxy's resources as proto3 JSON, by node id and by pod", async () => {
    const one = await call("GET", "/xds/a.default");
    expect(one.status).toBe(200);
    expect(await call("GET", `/xds/${encodeURIComponent(NODE)}`)).toEqual(one);
    const listeners = one.body["type.googleapis.com/envoy.config.listener.v3.Listener"];
    expect(listeners.map((l: { name: string }) => l.name)).toContain("virtualInbound");
    expect((await call("GET", "/xds/b.default")).status).toBe(404);
  });
  it("an applied object wins over paths, and delete gives the old one back", async () => {
    const list = async () => (await call("GET", "/objects?kind=VirtualService&name=reviews")).body.objects;
    const before = await list();
    expect(before).toMatchObject([
      { namespace: "default", source: { file: join(dir, "paths", "base.yaml"), line: 12 } },
    ]);
    expect(await call("PUT", "/objects", vs("reviews", "7s"))).toEqual({
      status: 200,
      body: { applied: ["VirtualService default/reviews"] },
    });
    const after = await list();
    expect(after).toHaveLength(1);
    // As its author knows it; an API without a file name has none.
    expect(after[0].source).toEqual({ file: "request", line: 1, applied: expect.stringMatching(/^20/) });
    expect(JSON.stringify((await call("GET", "/xds/a.default")).body)).toContain('"timeout":"7s"');
    expect((await call("PUT", "/objects", vs("reviews", "8s"))).status).toBe(200);
    expect(applied()).toHaveLength(1);
    expect((await call("DELETE", "/objects/VirtualService/default/reviews")).status).toBe(200);
    expect(await list()).toEqual(before);
    expect((await call("DELETE", "/objects/VirtualService/default/reviews")).status).toBe(409);
    expect((await call("DELETE", "/objects/VirtualService/default/none")).status).toBe(404);
  });
  it("what is applied from files keeps their lines, field by field, in errors and over a restart", async () => {
    const text = [
      "# first",
      "---",
      ...vs("reviews").split("\n").slice(0, 3),
      "spec:",
      "  hosts: [nobody]",
      "  http:",
      "  - route: [{destination: {host: reviews}}]",
      "",
    ].join("\n");
    const put = (body: object) => call("PUT", "/objects", JSON.stringify(body));
    expect(await put({ files: [{ file: "/home/a.yaml", text }] })).toMatchObject({ status: 200 });
    const list = async () => (await call("GET", "/objects?name=reviews&kind=VirtualService")).body.objects;
    const [one] = await list();
    expect(one.source).toMatchObject({ file: "/home/a.yaml", line: 3 });
    expect(one.warnings[0]).toMatch(/^\/home\/a\.yaml:7: VirtualService default\/reviews: spec\.hosts\[0\]/);
    source.close();
    source = watchFiles([join(dir, "paths"), join(dir, "applied")], () => {}, {
      renamed: join(dir, "applied"),
    });
    expect(
      source
        .objects()
        .find((o) => o.origin.kind === "applied")
        ?.line(["spec", "hosts", 0]),
    ).toBe(7);
    const bad = await put({ files: [{ file: "/home/b.yaml", text: vs("b").replace("hosts", "hots") }] });
    expect(bad.body.errors[0]).toMatch(/^\/home\/b\.yaml:4: VirtualService default\/b: spec\.hots/);
  });
  it("takes many back in one request, tells which it cannot, and all at last", async () => {
    const many = Array.from({ length: 300 }, (_, i) => vs(`v${i}`).replace("[reviews]", `[h${i}]`)).join("");
    expect((await call("PUT", "/objects", many)).body.applied).toHaveLength(300);
    const named = (name: string) => ({ kind: "VirtualService", namespace: "default", name });
    const remove = (body: object) => call("POST", "/objects/delete", JSON.stringify(body));
    expect((await remove({ objects: [named("v1"), named("reviews"), named("none")] })).body).toEqual({
      deleted: ["VirtualService default/v1"],
      errors: [
        expect.stringMatching(/reviews was not applied: it comes from .*base\.yaml:12; remove it there$/),
        "VirtualService default/none: no such object",
      ],
    });
    expect((await remove({ objects: [{ ...named("v2"), namespace: "shop" }] })).body.errors).toEqual([
      "VirtualService shop/v2: no such object; there is one in default: say which with -n",
    ]);
    expect((await remove({ all: true })).body).toMatchObject({ deleted: { length: 299 }, errors: [] });
    expect(applied()).toEqual([]);
    expect((await remove({})).status).toBe(400);
  });
  it("takes back what the mesh itself printed, without what a server filled in", async () => {
    const { objects } = (await call("GET", "/objects")).body;
    const items = objects.map((o: { object: { metadata: object } }) => ({
      ...o.object,
      metadata: { ...o.object.metadata, uid: "1", resourceVersion: "2", managedFields: [] },
      status: {},
    }));
    const body = JSON.stringify({ apiVersion: "v1", kind: "List", items: items.slice(1) });
    expect(await call("PUT", "/objects", body)).toMatchObject({ status: 200 });
    const [one] = (await call("GET", "/objects?name=reviews&kind=Service")).body.objects;
    expect(Object.keys(one.object)).toEqual(["apiVersion", "kind", "metadata", "spec"]);
    expect(one.object.metadata).toEqual({ name: "reviews", namespace: "default" });
  });
  it("stamps the time of creation, and keeps it when the object is applied again", async () => {
    const created = async (name: string) => {
      const { body } = await call("GET", `/objects?kind=VirtualService&name=${name}`);
      return body.objects[0].object.metadata.creationTimestamp;
    };
    const apply = async (text: string) => expect((await call("PUT", "/objects", text)).status).toBe(200);
    await apply(vs("zeta"));
    await apply(vs("alpha"));
    const first = await created("zeta");
    expect(Date.parse(first)).toBeLessThan(Date.parse(await created("alpha")));
    await apply(vs("zeta", "9s"));
    expect(await created("zeta")).toBe(first);
    // What hides an object from a file is that object, as old as it was.
    await apply(vs("reviews", "9s"));
    expect(await created("reviews")).toBeUndefined();
    await apply(
      vs("given").replace(
        "namespace: default",
        'namespace: default, creationTimestamp: "2020-01-01T00:00:00Z"',
      ),
    );
    expect(await created("given")).toBe("2020-01-01T00:00:00Z");
    const odd = vs("odd").replace("namespace: default", "namespace: default, creationTimestamp: yesterday");
    expect((await call("PUT", "/objects", odd)).body.errors[0]).toContain(
      "metadata.creationTimestamp: must be a time",
    );
  });
  it("refuses a body with any error and changes nothing", async () => {
    const before = await call("GET", "/world");
    for (const bad of ["", "a: [", vs("x").replace("hosts", "hots"), vs("good") + vs("good")]) {
      const answer = await call("PUT", "/objects", bad);
      expect(answer.status).toBe(422);
      expect(answer.body.errors.length).toBeGreaterThan(0);
    }
    const mixed = await call("PUT", "/objects", vs("good") + vs("x").replace("hosts", "hots"));
    expect(mixed.status).toBe(422);
    expect(await call("GET", "/world")).toEqual(before);
    expect(applied()).toBe(false);
  });
  it("refuses when the rest of the world has an error", async () => {
    writeFileSync(join(dir, "paths", "twice.yaml"), vs("dup") + vs("dup"));
    source.reload();
    const answer = await call("PUT", "/objects", vs("good"));
    expect(answer.status).toBe(422);
    expect(answer.body.errors[0]).toContain("already defined");
    expect(applied()).toBe(false);
  });
  it("lists traces, gives one with its spans, and refuses a bad limit", async () => {
    const traceId = "0af7651916cd43dd8448eb211c80319c";
    const startMs = Date.now() - 1_000;
    const span = {
      traceId,
      spanId: "b7ad6b7169203331",
      parentSpanId: "",
      name: "ingress",
      kind: "server",
    } as const;
    traces.add([
      { ...span, service: "gateway", startMs, endMs: startMs + 2, attributes: { code: 200 }, error: false },
    ]);
    const { body } = await call("GET", "/traces?limit=5&service=gateway");
    expect(body.traces).toMatchObject([
      { traceId, root: "ingress", service: "gateway", durationMs: 2, spans: 1 },
    ]);
    expect((await call("GET", "/traces?service=other")).body.traces).toEqual([]);
    expect((await call("GET", `/traces/${traceId}`)).body.spans).toMatchObject([
      { ...span, service: "gateway" },
    ]);
    expect((await call("GET", "/traces/none")).status).toBe(404);
    expect((await call("GET", "/traces?limit=many")).status).toBe(400);
  });
});
