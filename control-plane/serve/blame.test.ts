import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { expect, it } from "vitest";
import { createLogger } from "#lib/log.ts";
import { load, type World } from "#policies/index.ts";
import { XdsConnection } from "#xds/client/connection.ts";
import { NodeSchema } from "#xds/gen/envoy/config/core/v3/base_pb.js";
import { DeltaClientState, TYPE } from "#xds/index.ts";
import { createAdminServer } from "../admin/server.ts";
import { parseConfig } from "../config.ts";
import { resourcesFor, toWorld } from "../pipeline.ts";
import { watchFiles } from "../sources/file.ts";
import { AdsServer } from "./ads.ts";
import { blame } from "./blame.ts";
import { Distributor } from "./distributor.ts";

const pod = `apiVersion: v1
kind: Pod
metadata: {name: shop-0, labels: {app: shop}}
spec: {serviceAccountName: a, containers: [{name: c, ports: [{containerPort: 80}]}]}
status: {phase: Running, podIP: 10.0.0.1, conditions: [{type: Ready, status: "True"}]}
---
`;
const service = (name: string) => `apiVersion: v1
kind: Service
metadata: {name: ${name}}
spec: {clusterIP: 10.96.0.${name.length}, selector: {app: ${name}}, ports: [{name: http, port: 80}]}
---
`;
const vs = (name: string, value: string) => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}}
spec:
  hosts: [${name}]
  http:
  - headers: {request: {set: {x-share: "${value}"}}}
    route: [{destination: {host: ${name}}}]
---
`;
const rest = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: rule}
spec: {host: store, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: paths}
spec: {rules: [{to: [{operation: {paths: [/odd/path]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: names}
spec: {rules: [{to: [{operation: {hosts: [shop]}}]}]}
`;
const config = parseConfig(
  JSON.stringify({ paths: [], stateDir: "s", listen: { grpc: [], admin: "unix:a", otlp: null } }),
  "c.json",
);

it.each([
  ["a table that is not named, by the value that is quoted", TYPE.route, "invalid format: 'half'", ["shop"]],
  ["a table of which nothing is quoted: all that stand in it", TYPE.route, "bad", ["shop", "store"]],
  [
    "a cluster by its name",
    TYPE.cluster,
    "Error adding/updating cluster(s) outbound|80||store.default.svc.cluster.local: bad",
    ["rule"],
  ],
  [
    "a listener by the value",
    TYPE.listener,
    "Error adding/updating listener(s) virtualInbound: uri_template /odd/path is invalid",
    ["paths"],
  ],
  [
    "a listener of which nothing is quoted",
    TYPE.listener,
    "Error adding/updating listener(s) virtualInbound: x",
    ["names", "paths"],
  ],
  ["nothing where no policy stands", TYPE.cluster, "cluster(s) PassthroughCluster: bad", []],
])("names the policy behind a refusal: %s", (_, type, nack, names) => {
  const text = pod + service("shop") + service("store") + vs("shop", "half") + vs("store", "full") + rest;
  const world = toWorld(load(text, "t.yaml").objects, config);
  const node = {
    ip: "10.0.0.1",
    namespace: "default",
    serviceAccount: null,
    flavour: "envoy-stock",
  } as const;
  const { resources } = resourcesFor(world, node, config)!;
  const found = blame(world, type, resources, nack);
  expect(found.map(({ object }) => object.split("/")[1]).toSorted()).toEqual(names);
  for (const { file, line } of found) expect([file, line > 10]).toEqual(["t.yaml", true]);
});

it("apply and status say which policy a proxy refuses, and one that takes it costs no second", async () => {
  const dir = mkdtempSync(join(tmpdir(), "weft-blame-"));
  const log = createLogger("test", "silent");
  mkdirSync(join(dir, "paths"));
  writeFileSync(join(dir, "paths", "base.yaml"), pod + service("shop") + service("store"));
  const own = { ...config, paths: [join(dir, "paths")], stateDir: dir };
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
  const state = new DeltaClientState(node, ({ type, upserts }) =>
    type === TYPE.route
      ? upserts.flatMap(({ name, any }) =>
          Buffer.from(any.value).includes("half") ? [{ name, message: "invalid header value: half" }] : [],
        )
      : [],
  );
  for (const type of [TYPE.cluster, TYPE.listener]) state.subscribe(type, "*");
  const connection = new XdsConnection({ address: grpc, state });
  connection.start();
  try {
    await expect.poll(() => ads.status()[0]?.types[TYPE.route]?.acked).toBeTruthy();
    await expect
      .poll(() => Object.values(ads.status()[0]!.types).every((t) => t.upToDate && t.acked === t.sent))
      .toBe(true);
    const text = JSON.stringify({ files: [{ file: "/home/a.yaml", text: vs("store", "full") }] });
    expect(await call("PUT", "/objects", text)).toEqual({ applied: ["VirtualService default/store"] });
    const bad = JSON.stringify({ files: [{ file: "/home/b.yaml", text: vs("shop", "half") }] });
    expect(await call("PUT", "/objects", bad)).toEqual({
      applied: ["VirtualService default/shop"],
      refused: [
        "/home/b.yaml:7: VirtualService default/shop: RouteConfiguration refused: 80: invalid header value: half (proxy shop-0.default)",
      ],
    });
    expect((await call("GET", "/status")).proxies[0].types[TYPE.route]).toMatchObject({
      nack: "80: invalid header value: half",
      policies: [{ object: "VirtualService default/shop", file: "/home/b.yaml", line: 7 }],
    });
  } finally {
    connection.close();
    source.close();
    admin.close();
    server.forceShutdown();
    rmSync(dir, { recursive: true });
  }
});
