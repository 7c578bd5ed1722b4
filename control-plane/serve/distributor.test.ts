import { create, fromBinary } from "@bufbuild/protobuf";
import { beforeEach, expect, test } from "vitest";
import { createLogger } from "#lib/log.ts";
import { load, type World } from "#policies/index.ts";
import { NodeSchema } from "#xds/gen/envoy/config/core/v3/base_pb.js";
import { RouteConfigurationSchema } from "#xds/gen/envoy/config/route/v3/route_pb.js";
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
const options = {
  config,
  world: () => world,
  push: (id: string, set: ResourceSet) => {
    pushed.set(id, set);
    streams.get(id.split("~")[2]!.split(".")[0]!)!.machine.update(set);
  },
  log: createLogger("test", "silent"),
};
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
  distributor = new Distributor(options);
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
  expect(distributor.failures.get(idOf("shop-0"))).toEqual(["its former configuration stays: boom"]);
  become(BASE + pod("shop-1", "10.0.0.3"));
  distributor.publish();
  expect(distributor.failures.size).toBe(0);
});

/** Objects that were accepted although they cannot be written: what no check found. */
const UNWRITABLE = {
  "AuthorizationPolicy default/p": [
    "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\nspec: {selector: {matchLabels: {app: shop}}, action: DENY, rules: [{}, {from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}\n---\n",
    "10.0.0.0/8",
    "10.0.0.0/x",
  ],
  "VirtualService default/r": [
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r}\nspec: {hosts: [shop], http: [{redirect: {uri: /x, redirectCode: 301}}]}\n---\n",
    '"redirectCode":301',
    '"redirectCode":305',
  ],
  "DestinationRule default/o": [
    "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: o}\nspec: {host: shop, trafficPolicy: {outlierDetection: {maxEjectionPercent: 50}}}\n---\n",
    '"maxEjectionPercent":50',
    '"maxEjectionPercent":50.5',
  ],
} as const;

function becomeBroken(rest: string, [text, good, bad]: readonly [string, string, string]): void {
  const objects = load(rest + text, "t.yaml").objects.map((o) => {
    const spec = JSON.stringify(o.spec);
    return spec?.includes(good) ? { ...o, spec: JSON.parse(spec.replace(good, bad)) } : o;
  });
  world = toWorld(objects, config, world);
}

const names = (type: string, pod = "shop-0") => [
  ...(distributor.given.get(idOf(pod))!.get(type)?.keys() ?? []),
];
const restarted = (pod: string) => {
  distributor = new Distributor(options);
  return distributor.connect(create(NodeSchema, { id: idOf(pod), metadata: { WEFT_VERSION: "1" } }))!;
};
const hostsOf = (set: ResourceSet, table = "80") =>
  Object.fromEntries(
    fromBinary(RouteConfigurationSchema, set.get(TYPE.route)!.get(table)!.any.value).virtualHosts.map((h) => [
      h.name.replace(".default.svc.cluster.local", ""),
      h.routes.map(({ action }) => action.case).join(),
    ]),
  );

test("a listener that cannot be written stays as it was, and whatever else changed goes out", () => {
  become(BASE + DENY);
  distributor.publish();
  settle();
  const listener = distributor.given.get(idOf("shop-0"))!.get(TYPE.listener)!.get("virtualInbound");
  becomeBroken(BASE + DELAY, UNWRITABLE["AuthorizationPolicy default/p"]);
  distributor.publish();
  expect(settle()).toEqual({
    "page-0": ["RouteConfiguration +80 -"],
    "shop-0": ["RouteConfiguration +80 -"],
  });
  expect(distributor.given.get(idOf("shop-0"))!.get(TYPE.listener)!.get("virtualInbound")).toBe(listener);
  const [failure, ...others] = distributor.failures.get(idOf("shop-0"))!;
  expect(others).toEqual([]);
  expect(failure).toMatch(
    /^t\.yaml:\d+: AuthorizationPolicy default\/p: Listener virtualInbound cannot be written: .*; what was written of it before stays$/,
  );
  expect(distributor.failures.has(idOf("page-0"))).toBe(false);
  become(BASE);
  distributor.publish();
  expect(distributor.failures.size).toBe(0);
});

test("after a restart a listener whose authorization cannot be written is left out, never open", () => {
  becomeBroken(BASE, UNWRITABLE["AuthorizationPolicy default/p"]);
  restarted("shop-0");
  expect(names(TYPE.listener)).not.toContain("virtualInbound");
  expect(names(TYPE.listener)).toContain("virtualOutbound");
  expect(names(TYPE.cluster)).toContain("inbound|80||");
  expect(distributor.failures.get(idOf("shop-0"))).toEqual([
    expect.stringMatching(/default\/p: .*it is left out: connections to it are refused$/),
  ]);
});

test("a proxy that comes back finds what it last had of what cannot be written", () => {
  const before = distributor.given.get(idOf("shop-0"))!.get(TYPE.listener)!.get("virtualInbound");
  distributor.disconnect(idOf("shop-0"));
  becomeBroken(BASE, UNWRITABLE["AuthorizationPolicy default/p"]);
  distributor.publish();
  const set = distributor.connect(
    create(NodeSchema, { id: idOf("shop-0"), metadata: { WEFT_VERSION: "1" } }),
  )!;
  expect(set.get(TYPE.listener)!.get("virtualInbound")).toBe(before);
});

test("a route that cannot be written costs its virtual host alone: its former routes, or 503", () => {
  become(BASE + DELAY);
  distributor.publish();
  const broken = UNWRITABLE["VirtualService default/r"];
  becomeBroken(BASE + DELAY.replace("name: v", "name: page").replaceAll("shop", "page"), broken);
  distributor.publish();
  const source = (set: ResourceSet) => Buffer.from(set.get(TYPE.route)!.get("80")!.any.value).toString();
  const given = distributor.given.get(idOf("page-0"))!;
  // The old one of shop, the new one of page.
  expect(source(given)).toContain("virtual-service/v");
  expect(source(given)).toContain("virtual-service/page");
  expect(hostsOf(given)).toEqual({ "page:80": "route", "shop:80": "route", allow_any: "route" });
  expect(distributor.failures.get(idOf("page-0"))![0]).toMatch(
    /^t\.yaml:\d+: VirtualService default\/r: RouteConfiguration 80, virtual host shop.*:80, cannot be written: a redirect cannot answer 305/,
  );
  expect(hostsOf(restarted("page-0"))).toEqual({
    "page:80": "route",
    "shop:80": "directResponse",
    allow_any: "route",
  });
});

test("a cluster that cannot be written is left out after a restart, and the others are there", () => {
  becomeBroken(BASE, UNWRITABLE["DestinationRule default/o"]);
  distributor.publish();
  const shop = "outbound|80||shop.default.svc.cluster.local";
  expect(names(TYPE.cluster)).toContain(shop);
  restarted("shop-0");
  expect(names(TYPE.cluster)).not.toContain(shop);
  expect(names(TYPE.cluster)).toContain(shop.replace("shop", "page"));
  expect(distributor.failures.get(idOf("shop-0"))![0]).toMatch(
    /DestinationRule default\/o: Cluster .* is left out$/,
  );
});

test("a proxy whose pod the platform does not know gets nothing rather than something partial", () => {
  const node = create(NodeSchema, { id: "sidecar~10.0.0.9~late-0.default~d" });
  expect(distributor.connect(node)).toBe(undefined);
  expect(distributor.given.get(node.id)).toBe(null);
});
