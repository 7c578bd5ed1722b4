import { create } from "@bufbuild/protobuf";
import { beforeEach, expect, test } from "vitest";
import { createLogger } from "#lib/log.ts";
import { load, type World } from "#policies/index.ts";
import { NodeSchema } from "#xds/gen/envoy/config/core/v3/base_pb.js";
import { DeltaClientState, DeltaStream, type ResourceSet, shortType, TYPE } from "#xds/index.ts";
import { parseConfig } from "../config.ts";
import { toWorld } from "../pipeline.ts";
import { Distributor } from "./distributor.ts";

const config = parseConfig(
  JSON.stringify({ paths: [], stateDir: "s", listen: { grpc: [], admin: "unix:a", otlp: null } }),
  "c.json",
);
const pod = (name: string, ip: string, ready = true) =>
  `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}, labels: {app: ${name.split("-")[0]}, security.istio.io/tlsMode: istio}}\nspec: {serviceAccountName: a, containers: [{name: c, ports: [{containerPort: 80}]}]}\nstatus: {phase: Running, podIP: ${ip}, conditions: [{type: Ready, status: "${ready ? "True" : "False"}"}]}\n---\n`;
const service = (name: string) =>
  `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}}\nspec: {selector: {app: ${name}}, ports: [{name: http, port: 80}]}\n---\n`;
const PODS = ["page-0", "shop-0"] as const;
const BASE = pod("page-0", "10.0.0.1") + pod("shop-0", "10.0.0.2") + service("page") + service("shop");
const DELAY =
  "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec: {hosts: [shop], http: [{timeout: 1s, route: [{destination: {host: shop}}]}]}\n---\n";
const DENY =
  "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: d}\nspec: {selector: {matchLabels: {app: shop}}, action: DENY, rules: [{}]}\n---\n";

let world: World;
let distributor: Distributor;
let pushed: Map<string, ResourceSet>;
const streams = new Map<string, { machine: DeltaStream; client: DeltaClientState; got: string[] }>();
const idOf = (name: string) => `sidecar~10.0.0.${PODS.indexOf(name as never) + 1}~${name}.default~d`;

function become(text: string): void {
  world = toWorld(load(text, "t.yaml").objects, config, world ?? null);
}

/** Lets both ends talk until they have nothing to say; what came over the wire, per pod. */
function settle(first = false): Record<string, string[]> {
  for (const [name, stream] of streams) {
    stream.got.length = 0;
    let inbox = first ? stream.client.connect() : [];
    for (;;) {
      for (const request of inbox) stream.machine.request(request);
      inbox = [];
      for (let r = stream.machine.next(); r !== undefined; r = stream.machine.next()) {
        const names = r.resources.map((x) => x.name.replace(/\.default\.svc\.cluster\.local/, "")).sort();
        stream.got.push(`${shortType(r.typeUrl)} +${names.join()} -${r.removedResources.join()}`);
        inbox.push(...stream.client.receive(r));
      }
      if (inbox.length === 0) break;
    }
    streams.set(name, stream);
  }
  return Object.fromEntries([...streams].map(([name, s]) => [name, [...s.got]]));
}

beforeEach(() => {
  streams.clear();
  pushed = new Map();
  become(BASE);
  distributor = new Distributor({
    config,
    world: () => world,
    push: (id, set) => {
      pushed.set(id, set);
      streams.get(id.split("~")[2]!.split(".")[0]!)!.machine.update(set);
    },
    log: createLogger("test", "silent"),
  });
  for (const name of PODS) {
    const node = create(NodeSchema, { id: idOf(name), metadata: { WEFT_VERSION: "1" } });
    const client = new DeltaClientState(node, () => []);
    client.subscribe(TYPE.cluster, "*");
    client.subscribe(TYPE.listener, "*");
    let n = 0;
    const machine = new DeltaStream(() => `${++n}`);
    machine.update(distributor.connect(node)!);
    streams.set(name, { machine, client, got: [] });
  }
  settle(true);
});

test("an endpoint change sends its endpoints and nothing else", () => {
  become(BASE + pod("shop-1", "10.0.0.3"));
  distributor.publish();
  const only = ["ClusterLoadAssignment +outbound|80||shop -"];
  expect(settle()).toEqual({ "page-0": only, "shop-0": only });
  // The same world again, from the same text read anew: nothing.
  become(BASE + pod("shop-1", "10.0.0.3"));
  distributor.publish();
  expect(settle()).toEqual({ "page-0": [], "shop-0": [] });
});

test("readiness changes no cluster: its identities stay", () => {
  become(BASE.replace(pod("shop-0", "10.0.0.2"), pod("shop-0", "10.0.0.2", false)));
  distributor.publish();
  expect(settle()["page-0"]).toEqual(["ClusterLoadAssignment +outbound|80||shop -"]);
});

test("proxies of a namespace share clusters, tables and assignments byte for byte", () => {
  const [page, shop] = PODS.map((name) => distributor.given.get(idOf(name))!);
  expect(page!.get(TYPE.endpoints)).toBe(shop!.get(TYPE.endpoints));
  expect(page!.get(TYPE.route)!.get("80")).toBe(shop!.get(TYPE.route)!.get("80"));
});

test("a route change sends the table; authorization only goes to the workload that it protects", () => {
  become(BASE + DELAY);
  distributor.publish();
  expect(settle()).toEqual({
    "page-0": ["RouteConfiguration +80 -"],
    "shop-0": ["RouteConfiguration +80 -"],
  });
  become(BASE + DELAY + DENY);
  distributor.publish();
  expect(settle()).toEqual({ "page-0": [], "shop-0": ["Listener +virtualInbound -"] });
});

test("make before break: what is new first, removals of clusters last", () => {
  become(BASE.replaceAll("name: shop}\nspec: {sel", "name: store}\nspec: {sel"));
  distributor.publish();
  expect(settle()["page-0"]).toEqual([
    "Cluster +outbound|80||store -",
    "ClusterLoadAssignment +outbound|80||store -",
    "RouteConfiguration +80 -",
    "Cluster + -outbound|80||shop.default.svc.cluster.local",
  ]);
});

test("one proxy that cannot be configured keeps what it has, and the others go on", () => {
  const before = distributor.given.get(idOf("shop-0"));
  become(BASE + pod("shop-1", "10.0.0.3"));
  const { workloads } = world;
  const broken = {
    get ip(): string {
      return "10.0.0.2";
    },
    get namespace(): string {
      return "default";
    },
    get labels(): never {
      throw new Error("boom");
    },
  };
  world = { ...world, workloads: [...workloads.filter((w) => w.pod !== "shop-0"), broken as never] };
  distributor.publish();
  expect([...pushed.keys()]).toEqual([idOf("page-0")]);
  expect(distributor.given.get(idOf("shop-0"))).toBe(before);
  expect(distributor.failures.get(idOf("shop-0"))).toBe("boom");
  become(BASE + pod("shop-1", "10.0.0.3"));
  distributor.publish();
  expect(distributor.failures.size).toBe(0);
});

test("a proxy whose pod the platform does not know gets nothing rather than something partial", () => {
  const node = create(NodeSchema, { id: "sidecar~10.0.0.9~late-0.default~d" });
  expect(distributor.connect(node)).toBe(undefined);
  expect(distributor.given.get(node.id)).toBe(null);
});
