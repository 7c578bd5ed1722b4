import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { Client, credentials, Metadata, Server, ServerCredentials } from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Backoff } from "#lib/backoff.ts";
import { createLogger } from "#lib/log.ts";
import { XdsConnection } from "#xds/client/connection.ts";
import { ClusterSchema } from "#xds/gen/envoy/config/cluster/v3/cluster_pb.js";
import { NodeSchema } from "#xds/gen/envoy/config/core/v3/base_pb.js";
import { AggregatedDiscoveryService } from "#xds/gen/envoy/service/discovery/v3/ads_pb.js";
import type { DeltaDiscoveryResponse } from "#xds/gen/envoy/service/discovery/v3/discovery_pb.js";
import {
  DeltaClientState,
  packResource,
  type ResourceSet,
  SotwClientState,
  TYPE,
  toGrpc,
} from "#xds/index.ts";
import { AdsServer } from "./ads.ts";

const id = "sidecar~127.0.1.1~a.default~default.svc.cluster.local";
const node = create(NodeSchema, { id, metadata: { NAMESPACE: "default", SERVICE_ACCOUNT: "a" } });

function clusters(...names: string[]): ResourceSet {
  const packed = names.map((name) => packResource(ClusterSchema, name, create(ClusterSchema, { name })));
  return new Map([[TYPE.cluster, new Map(packed.map((r) => [r.name, r]))]]);
}

let folder = "";
let server: Server;
let ads: AdsServer;
let provenPod: string | undefined;
const connections: XdsConnection[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "ads-"));
  server = new Server();
  provenPod = undefined;
  ads = new AdsServer({
    authenticate: (metadata: Metadata) => {
      if (metadata.get("authorization")[0] !== "Bearer good") throw new Error("no valid token");
      return {
        namespace: "default",
        serviceAccount: "a",
        ...(provenPod === undefined ? {} : { pod: provenPod }),
      };
    },
    onConnect: () => clusters("one"),
    log: createLogger("test", "silent"),
  });
  ads.register(server);
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${folder}/xds.sock`, ServerCredentials.createInsecure(), (e) =>
      e ? reject(e) : resolve(),
    );
  });
});

afterEach(() => {
  for (const connection of connections.splice(0)) connection.close();
  server.forceShutdown();
  rmSync(folder, { recursive: true });
});

test.each([DeltaClientState, SotwClientState])(
  "%o: first config, push, acknowledgement, over a Unix socket",
  async (State) => {
    const state = new State(node, () => []);
    state.subscribe(TYPE.cluster, "*");
    writeFileSync(`${folder}/token`, "good\n");
    const connection = new XdsConnection({
      address: `unix:${folder}/xds.sock`,
      state,
      tokenFile: `${folder}/token`,
    });
    connections.push(connection);
    connection.start();
    await vi.waitFor(() => expect(Object.keys(state.known()[TYPE.cluster] ?? {})).toEqual(["one"]));
    ads.push(id, clusters("two"));
    await vi.waitFor(() => expect(Object.keys(state.known()[TYPE.cluster] ?? {})).toEqual(["two"]));
    await vi.waitFor(() => {
      const status = ads.status()[0]?.types[TYPE.cluster];
      expect(status?.nonceAcked).toBe(status?.nonceSent);
    });
  },
);

test("a caller with a bad token is refused, and accepted after the token file changed", async () => {
  const state = new DeltaClientState(node, () => []);
  state.subscribe(TYPE.cluster, "*");
  writeFileSync(`${folder}/token`, "bad");
  const errors: string[] = [];
  const connection = new XdsConnection({
    address: `unix:${folder}/xds.sock`,
    state,
    tokenFile: `${folder}/token`,
    backoff: new Backoff(1, 5),
    onStatus: (status) => errors.push(status.error ?? ""),
  });
  connections.push(connection);
  connection.start();
  await vi.waitFor(() => expect(errors[0]).toContain("no valid token"));
  writeFileSync(`${folder}/token`, "good");
  await vi.waitFor(() => expect(Object.keys(state.known()[TYPE.cluster] ?? {})).toEqual(["one"]));
});

test("one pod's token holds a few streams, each with a bounded number of names", async () => {
  writeFileSync(`${folder}/token`, "good");
  const opened = (nodeId: string, name?: string) => {
    const state = new DeltaClientState(create(NodeSchema, { id: nodeId, metadata: OWN }), () => []);
    if (name === undefined) state.subscribe(TYPE.cluster, "*");
    else state.subscribe(TYPE.endpoints, [name]);
    const errors: string[] = [];
    const connection = new XdsConnection({
      address: `unix:${folder}/xds.sock`,
      state,
      tokenFile: `${folder}/token`,
      onStatus: (status) => errors.push(status.error ?? ""),
    });
    connections.push(connection);
    connection.start();
    return errors;
  };
  const long = opened(id, "n".repeat(1000));
  await vi.waitFor(() => expect(long.at(-1)).toContain("longer than any"));
  connections.splice(0)[0]!.close();
  // Whatever address the id claims.
  for (let i = 1; i <= 8; i++) opened(id.replace("127.0.1.1", `127.0.1.${i}`));
  await vi.waitFor(() => expect(ads.status()).toHaveLength(8));
  const ninth = opened(id.replace("127.0.1.1", "127.0.1.9"));
  await vi.waitFor(() => expect(ninth.at(-1)).toContain("has 8 streams already"));
  connections.splice(0, 1)[0]!.close();
  await vi.waitFor(
    () => expect(ads.status().map((s) => s.nodeId)).toContain(id.replace("1.1", "1.9")),
    10_000,
  );
});

const OWN = { NAMESPACE: "default", SERVICE_ACCOUNT: "a" };
test.each([
  ["of another namespace", id, { ...OWN, NAMESPACE: "prod" }, 'its token is for "default"'],
  [
    "whose id is of another namespace",
    id.replace("a.default", "a.prod"),
    OWN,
    'its token\'s namespace "default"',
  ],
  [
    "whose id is of another pod",
    id.replace("a.default", "c.default"),
    OWN,
    'its token\'s pod "b.default"',
    "b",
  ],
])("a node %s than its token is refused", async (_, nodeId, metadata, why, pod = undefined) => {
  provenPod = pod;
  const other = create(NodeSchema, { id: nodeId, metadata });
  const state = new DeltaClientState(other, () => []);
  state.subscribe(TYPE.cluster, "*");
  writeFileSync(`${folder}/token`, "good");
  const errors: string[] = [];
  const connection = new XdsConnection({
    address: `unix:${folder}/xds.sock`,
    state,
    tokenFile: `${folder}/token`,
    onStatus: (status) => errors.push(status.error ?? ""),
  });
  connections.push(connection);
  connection.start();
  await vi.waitFor(() => expect(errors[0]).toContain(why));
  expect(ads.status()).toEqual([]);
});

test("a peer that does not read holds up nobody, and gets the latest when it reads", async () => {
  const open = (nodeId: string) => {
    const state = new DeltaClientState(
      create(NodeSchema, { id: nodeId, metadata: { NAMESPACE: "default", SERVICE_ACCOUNT: "a" } }),
      () => [],
    );
    const method = toGrpc(AggregatedDiscoveryService)["deltaAggregatedResources"]!;
    const client = new Client(`unix:${folder}/xds.sock`, credentials.createInsecure());
    const metadata = new Metadata();
    metadata.set("authorization", "Bearer good");
    const stream = client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize as (bytes: Buffer) => DeltaDiscoveryResponse,
      metadata,
    );
    stream.on("error", () => {});
    state.subscribe(TYPE.cluster, "*");
    for (const request of state.connect()) stream.write(request);
    const read = () => {
      stream.on("data", (response: DeltaDiscoveryResponse) => {
        for (const request of state.receive(response)) stream.write(request);
      });
    };
    return { state, read, close: () => client.close() };
  };
  const stuck = open(id);
  const other = open(id.replaceAll("a.default", "b.default"));
  other.read();
  await vi.waitFor(() => expect(ads.status()).toHaveLength(2));
  const known = (state: DeltaClientState) => Object.keys(state.known()[TYPE.cluster] ?? {});
  // Far more than the windows of HTTP/2 and the socket hold.
  const large = (round: number) => clusters(`${round}-${"x".repeat(1_000_000)}`);
  let last = large(0);
  for (let round = 1; round <= 40; round++) {
    last = large(round);
    ads.push(id, last);
    ads.push(id.replaceAll("a.default", "b.default"), clusters(`small-${round}`));
    await vi.waitFor(() => expect(known(other.state)).toEqual([`small-${round}`]));
  }
  expect(known(stuck.state)).toEqual([]);
  stuck.read();
  await vi.waitFor(() => expect(known(stuck.state)).toEqual([...last.get(TYPE.cluster)!.keys()]), 10_000);
  stuck.close();
  other.close();
}, 30_000);
