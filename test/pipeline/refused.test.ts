/** A proxy that refuses what the control plane means it to run, over real ADS: what the windows say of it. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request as httpRequest, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { expect, it } from "vitest";
import { MeshView, parseRequest, walk } from "#cli/explain/index.ts";
import { createAdminServer } from "#control-plane/admin/server.ts";
import { parseConfig } from "#control-plane/config.ts";
import { toWorld } from "#control-plane/pipeline.ts";
import { AdsServer } from "#control-plane/serve/ads.ts";
import { Distributor } from "#control-plane/serve/distributor.ts";
import { watchFiles } from "#control-plane/sources/file.ts";
import { createLogger } from "#lib/log.ts";
import type { World } from "#policies/index.ts";
import type { Bootstrap } from "#sidecar/bootstrap.ts";
import { ConfigArchive } from "#sidecar/config/archive.ts";
import { configDump } from "#sidecar/config/dump.ts";
import { XdsConnection } from "#xds/client/connection.ts";
import { NodeSchema } from "#xds/gen/envoy/config/core/v3/base_pb.js";
import { DeltaClientState, TYPE } from "#xds/index.ts";

const BASE = `apiVersion: v1
kind: Pod
metadata: {name: shop-0, labels: {app: shop}}
spec: {serviceAccountName: a, containers: [{name: c, ports: [{containerPort: 80}]}]}
status: {phase: Running, podIP: 10.0.0.1, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {clusterIP: 10.96.0.7, selector: {app: shop}, ports: [{name: http, port: 80}]}
`;
const vs = (status: number, body: string) => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http:
  - directResponse: {status: ${status}, body: {string: ${body}}}
`;

it("apply, status and explain say which policy a proxy refuses, and explain decides on what it runs", async () => {
  const dir = mkdtempSync(join(tmpdir(), "weft-blame-"));
  const log = createLogger("test", "silent");
  mkdirSync(join(dir, "paths"));
  writeFileSync(join(dir, "paths", "base.yaml"), BASE);
  const own = parseConfig(
    JSON.stringify({
      paths: [join(dir, "paths")],
      stateDir: dir,
      listen: { grpc: [], admin: "unix:a", otlp: null },
    }),
    "c.json",
  );
  const source = watchFiles(
    [...own.paths, join(dir, "applied")],
    () => {
      world = toWorld(source.objects(), own, world);
      distributor.publish();
    },
    { renamed: join(dir, "applied") },
  );
  let world: World = toWorld(source.objects(), own);
  const distributor = new Distributor({
    config: own,
    world: () => world,
    push: (id, set) => ads.push(id, set),
    log,
  });
  const ads: AdsServer = new AdsServer({ onConnect: (node) => distributor.connect(node), log });
  const server = new Server();
  ads.register(server);
  const grpc = `unix:${join(dir, "xds.sock")}`;
  await new Promise<void>((done) => {
    server.bindAsync(grpc, ServerCredentials.createInsecure(), () => done());
  });
  const admin = createAdminServer({
    config: own,
    world: () => world,
    objects: source.objects,
    issues: source.issues,
    awaited: source.awaited,
    proxies: () => ads.status(),
    resources: () => distributor.given,
    failures: () => distributor.failures,
    answers: () => ads.answers(),
    traces: null,
    reload: source.reload,
  });
  await new Promise<void>((done) => {
    admin.listen(join(dir, "admin.sock"), done);
  });
  const call = async (method: string, path: string, body = "") => {
    const response = await new Promise<IncomingMessage>((done, fail) =>
      httpRequest({ socketPath: join(dir, "admin.sock"), method, path }, done)
        .on("error", fail)
        .end(body),
    );
    return JSON.parse((await response.toArray()).join(""));
  };
  const node = create(NodeSchema, { id: "sidecar~10.0.0.1~shop-0.default~d" });
  const archive = new ConfigArchive();
  const state = new DeltaClientState(node, ({ type, upserts, removed }) => {
    const refused = upserts
      .filter(({ any }) => type === TYPE.route && Buffer.from(any.value).includes("half"))
      .map(({ name }) => ({ name, message: "body is invalid: half" }));
    archive.update(type, upserts, removed, new Map(refused.map(({ name, message }) => [name, message])));
    return refused;
  });
  for (const type of [TYPE.cluster, TYPE.listener]) state.subscribe(type, "*");
  mkdirSync(join(dir, "pods", "shop-0"), { recursive: true });
  const proxy = createServer((_, response) => {
    const bootstrap = {
      node: { id: node.id, cluster: "", metadata: {}, locality: {} },
      admin: { kind: "unix", path: "" },
      discovery: { address: grpc },
    } as unknown as Bootstrap;
    const dump = { bootstrap, version: "", archive, secret: null, startedMs: 0 };
    response.end(JSON.stringify(configDump(dump, { includeEds: true, resource: null, name: null })));
  });
  await new Promise<void>((done) => {
    proxy.listen(join(dir, "pods", "shop-0", "admin.sock"), done);
  });
  const explained = async () =>
    walk(await MeshView.of(dir), parseRequest(["GET", "http://shop/"], []), "shop-0");
  const connection = new XdsConnection({ address: grpc, state });
  connection.start();
  try {
    await expect.poll(() => ads.status()[0]?.types[TYPE.route]?.acked).toBeTruthy();
    await expect
      .poll(() => Object.values(ads.status()[0]!.types).every((t) => t.upToDate && t.acked === t.sent))
      .toBe(true);
    const put = (file: string, text: string) =>
      call("PUT", "/objects", JSON.stringify({ files: [{ file, text }] }));
    expect(await put("/home/a.yaml", vs(451, "whole"))).toEqual({ applied: ["VirtualService default/shop"] });
    const before = await explained();
    expect([before.verdict.status, before.steps.filter((s) => s.kind === "config")]).toEqual([451, []]);
    expect(await put("/home/b.yaml", vs(418, "half"))).toEqual({
      applied: ["VirtualService default/shop"],
      refused: [
        "/home/b.yaml:7: VirtualService default/shop: RouteConfiguration refused: 80: body is invalid: half (proxy shop-0.default)",
      ],
    });
    const place = { object: "VirtualService default/shop", file: "/home/b.yaml", line: 7 };
    expect((await call("GET", "/status")).proxies[0].types[TYPE.route]).toMatchObject({
      nack: "80: body is invalid: half",
      policies: [place],
    });
    const after = await explained();
    expect(after.verdict.status).toBe(451);
    expect(after.steps.find((s) => s.kind === "config")).toEqual({
      kind: "config",
      ok: true,
      text: "the proxy of shop-0.default has refused its newest configuration: what it runs decides here",
      place: null,
      details: [{ text: "RouteConfiguration refused: 80: body is invalid: half", place }],
    });
  } finally {
    connection.close();
    proxy.close();
    source.close();
    admin.close();
    server.forceShutdown();
    rmSync(dir, { recursive: true });
  }
});
