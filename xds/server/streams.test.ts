import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { packResource, type ResourceSet } from "../any.ts";
import { DeltaClientState, SotwClientState } from "../client/state.ts";
import { Cluster_DiscoveryType, ClusterSchema } from "../gen/envoy/config/cluster/v3/cluster_pb.js";
import { NodeSchema } from "../gen/envoy/config/core/v3/base_pb.js";
import { ClusterLoadAssignmentSchema } from "../gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { ListenerSchema } from "../gen/envoy/config/listener/v3/listener_pb.js";
import { RouteConfigurationSchema } from "../gen/envoy/config/route/v3/route_pb.js";
import {
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DiscoveryRequestSchema,
} from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import { shortType, TYPE } from "../type-urls.ts";
import { DeltaStream } from "./delta.ts";
import { LimitExceeded } from "./limits.ts";
import { SotwStream } from "./sotw.ts";

/** World in short: cluster and endpoint and listener and route names, each with a revision. */
interface World {
  c?: Record<string, number>;
  e?: Record<string, number>;
  l?: Record<string, number>;
  r?: Record<string, number>;
}
function world(w: World): ResourceSet {
  const of = (
    items: Record<string, number> = {},
    pack: (name: string, rev: number) => ReturnType<typeof packResource>,
  ) => new Map(Object.entries(items).map(([name, rev]) => [name, pack(name, rev)]));
  const clusterDiscoveryType = { case: "type", value: Cluster_DiscoveryType.EDS } as const;
  return new Map([
    [
      TYPE.cluster,
      of(w.c, (name, rev) =>
        packResource(
          ClusterSchema,
          name,
          create(ClusterSchema, { name, altStatName: `${rev}`, clusterDiscoveryType }),
        ),
      ),
    ],
    [
      TYPE.endpoints,
      of(w.e, (name, rev) =>
        packResource(
          ClusterLoadAssignmentSchema,
          name,
          create(ClusterLoadAssignmentSchema, { clusterName: name, endpoints: [{ priority: rev }] }),
        ),
      ),
    ],
    [
      TYPE.listener,
      of(w.l, (name, rev) =>
        packResource(ListenerSchema, name, create(ListenerSchema, { name, statPrefix: `${rev}` })),
      ),
    ],
    [
      TYPE.route,
      of(w.r, (name, rev) =>
        packResource(
          RouteConfigurationSchema,
          name,
          create(RouteConfigurationSchema, { name, virtualHosts: [{ name: `${rev}` }] }),
        ),
      ),
    ],
  ]);
}
function counter() {
  let n = 0;
  return () => `${++n}`;
}
type DeltaInit = Omit<Parameters<typeof create<typeof DeltaDiscoveryRequestSchema>>[1] & object, "$typeName">;
function delta(w: World) {
  const stream = new DeltaStream(counter());
  stream.update(world(w));
  return {
    stream,
    ask: (typeUrl: string, init: DeltaInit = {}) =>
      stream.request(create(DeltaDiscoveryRequestSchema, { ...init, typeUrl })),
    drain: () => drain(stream),
    ack: (response: DeltaDiscoveryResponse) =>
      stream.request(
        create(DeltaDiscoveryRequestSchema, { typeUrl: response.typeUrl, responseNonce: response.nonce }),
      ),
  };
}
function drain<R>(stream: { next(): R | undefined }): R[] {
  const all: R[] = [];
  for (let r = stream.next(); r !== undefined; r = stream.next()) all.push(r);
  return all;
}
const brief = (rs: DeltaDiscoveryResponse[]) =>
  rs.map((r) => `${shortType(r.typeUrl)} +${r.resources.map((x) => x.name).sort()} -${r.removedResources}`);

describe("limits", () => {
  const names = (count: number, length = 8): string[] =>
    Array.from({ length: count }, (_, i) => String(i).padStart(length, "n"));
  const sotw = (resourceNames: string[]) =>
    new SotwStream(counter()).request(
      create(DiscoveryRequestSchema, { typeUrl: TYPE.endpoints, resourceNames }),
    );
  test.each<[string, () => unknown]>([
    ["names in one request", () => delta({}).ask(TYPE.endpoints, { resourceNamesSubscribe: names(10_001) })],
    ["names in one request, state of the world", () => sotw(names(10_001))],
    [
      "names in many requests",
      () => {
        const s = delta({});
        for (const first of ["a", "b", "c"])
          s.ask(TYPE.endpoints, { resourceNamesSubscribe: names(4000).map((name) => first + name) });
      },
    ],
    ["a long name", () => delta({}).ask(TYPE.route, { resourceNamesSubscribe: names(1, 1000) })],
    ["a long name, state of the world", () => sotw(names(1, 1000))],
    [
      "versions of names that it says to have",
      () =>
        delta({}).ask(TYPE.cluster, {
          initialResourceVersions: Object.fromEntries(names(10_001).map((name) => [name, "1"])),
        }),
    ],
    [
      "types",
      () => {
        const s = delta({});
        for (const name of names(17)) s.ask(name);
      },
    ],
  ])("too much ends the stream: %s", (_name, ask) => {
    expect(ask).toThrow(LimitExceeded);
  });
  test("the same names again are not more; of many resources many may be asked for", () => {
    const s = delta({ e: Object.fromEntries(names(5000).map((name) => [name, 1])) });
    s.ask(TYPE.endpoints, { resourceNamesSubscribe: names(10_000) });
    s.ask(TYPE.endpoints, { resourceNamesSubscribe: names(10_000) });
    s.ask(TYPE.endpoints, { resourceNamesSubscribe: names(20_000) });
  });
});

describe("delta", () => {
  test("an empty first subscription is a wildcard for CDS and nothing for EDS; ACKs get no answer", () => {
    const s = delta({ c: { a: 1, b: 1 }, e: { a: 1 } });
    s.ask(TYPE.cluster);
    s.ask(TYPE.endpoints);
    const out = s.drain();
    expect(brief(out)).toEqual(["Cluster +a,b -"]);
    expect(s.ack(out[0] as DeltaDiscoveryResponse)[0]?.kind).toBe("ack");
    expect(s.drain()).toEqual([]);
  });
  test("unknown EDS and RDS names are answered with empty resources", () => {
    const s = delta({});
    s.ask(TYPE.endpoints, { resourceNamesSubscribe: ["x"] });
    s.ask(TYPE.route, { resourceNamesSubscribe: ["80"] });
    expect(brief(s.drain())).toEqual(["ClusterLoadAssignment +x -", "RouteConfiguration +80 -"]);
  });
  test("reconnect: matching versions are not sent again, vanished names are removed", () => {
    const set = world({ c: { a: 1, b: 2 } });
    const version = set.get(TYPE.cluster)?.get("a")?.version as string;
    const s = delta({ c: { a: 1, b: 2 } });
    s.ask(TYPE.cluster, { initialResourceVersions: { a: version, b: "old", gone: "old" } });
    expect(brief(s.drain())).toEqual(["Cluster +b -", "Cluster + -gone"]);
  });
  test("after a NACK nothing is sent until it changes; a stale nonce settles nothing", () => {
    const s = delta({ c: { a: 1 } });
    s.ask(TYPE.cluster);
    s.drain();
    expect(s.ask(TYPE.cluster, { responseNonce: "other" })[0]?.kind).toBe("stale");
    expect(s.ask(TYPE.cluster, { responseNonce: "1", errorDetail: { message: "bad" } })[0]?.kind).toBe(
      "nack",
    );
    expect(s.drain()).toEqual([]);
    expect(s.stream.status()[TYPE.cluster]).toMatchObject({ nack: "bad", nonceSent: "1", nonceAcked: "" });
    s.stream.update(world({ c: { a: 2 } }));
    expect(brief(s.drain())).toEqual(["Cluster +a -"]);
  });
  test("make before break: a cluster goes after the new route is acknowledged; its endpoints after that", () => {
    const s = delta({ c: { a: 1 }, e: { a: 1 }, r: { "80": 1 } });
    s.ask(TYPE.cluster);
    s.ask(TYPE.endpoints, { resourceNamesSubscribe: ["a"] });
    s.ask(TYPE.route, { resourceNamesSubscribe: ["80"] });
    for (const r of s.drain()) s.ack(r);
    s.stream.update(world({ c: { b: 1 }, e: { b: 1 }, r: { "80": 2 } }));
    const step = (): string[] => {
      const out = s.drain();
      for (const r of out) s.ack(r);
      return brief(out);
    };
    expect(step()).toEqual(["Cluster +b -"]);
    // Accepted, but it serves only with endpoints: the route that leads there waits for them.
    expect(step()).toEqual([]);
    s.ask(TYPE.endpoints, { resourceNamesSubscribe: ["b"] });
    expect(step()).toEqual(["ClusterLoadAssignment +b -"]);
    expect(step()).toEqual(["RouteConfiguration +80 -"]);
    expect(step()).toEqual(["Cluster + -a"]);
  });
  test("a refused cluster holds up no route, and what its old form needs stays", () => {
    const s = delta({ c: { a: 1 }, e: { a: 1 }, r: { "80": 1 } });
    s.ask(TYPE.cluster);
    s.ask(TYPE.endpoints, { resourceNamesSubscribe: ["a"] });
    s.ask(TYPE.route, { resourceNamesSubscribe: ["80"] });
    for (const r of s.drain()) s.ack(r);
    s.stream.update(world({ c: { b: 1 }, e: { b: 1 }, r: { "80": 2 } }));
    const [cluster] = s.drain();
    s.ask(TYPE.cluster, { responseNonce: cluster!.nonce, errorDetail: { message: "bad" } });
    const routes = s.drain();
    expect(brief(routes)).toEqual(["RouteConfiguration +80 -"]);
    s.ack(routes[0]!);
    expect(brief(s.drain())).toEqual(["Cluster + -a"]);
  });
  test("endpoints are sent again for an updated cluster", () => {
    const s = delta({ c: { a: 1 }, e: { a: 1 } });
    s.ask(TYPE.cluster);
    s.ask(TYPE.endpoints, { resourceNamesSubscribe: ["a"] });
    for (const r of s.drain()) s.ack(r);
    s.stream.update(world({ c: { a: 2 }, e: { a: 1 } }));
    expect(brief(s.drain())).toEqual(["Cluster +a -", "ClusterLoadAssignment +a -"]);
  });
});

describe("state of the world", () => {
  test("names added are answered, the same or fewer are not, none unsubscribes", () => {
    const stream = new SotwStream(counter());
    stream.update(world({ e: { a: 1, b: 1 } }));
    const ask = (names: string[], responseNonce = "") =>
      stream.request(
        create(DiscoveryRequestSchema, { typeUrl: TYPE.endpoints, resourceNames: names, responseNonce }),
      );
    ask(["a"]);
    expect(drain(stream).map((r) => r.resources.length)).toEqual([1]);
    ask(["a", "b"], "1");
    expect(drain(stream).map((r) => r.resources.length)).toEqual([1]);
    ask(["a"], "2");
    ask([], "2");
    stream.update(world({ e: { a: 2, b: 2 } }));
    expect(drain(stream)).toEqual([]);
    ask(["a"]);
    expect(drain(stream)).toHaveLength(1);
  });
  test("a cluster that goes is still listed while the route that used it may be in use", () => {
    const stream = new SotwStream(counter());
    stream.update(world({ c: { a: 1 }, r: { "80": 1 } }));
    const ask = (typeUrl: string, resourceNames: string[], responseNonce = "") =>
      stream.request(create(DiscoveryRequestSchema, { typeUrl, resourceNames, responseNonce }));
    ask(TYPE.cluster, []);
    ask(TYPE.route, ["80"]);
    drain(stream);
    ask(TYPE.cluster, [], "1");
    ask(TYPE.route, ["80"], "2");
    stream.update(world({ c: { b: 1 }, r: { "80": 2 } }));
    expect(drain(stream).map((r) => [shortType(r.typeUrl), r.resources.length])).toEqual([["Cluster", 2]]);
    ask(TYPE.cluster, [], "3");
    expect(drain(stream).map((r) => [shortType(r.typeUrl), r.resources.length])).toEqual([
      ["RouteConfiguration", 1],
    ]);
    ask(TYPE.route, ["80"], "4");
    expect(drain(stream).map((r) => [shortType(r.typeUrl), r.resources.length])).toEqual([["Cluster", 1]]);
  });
});

const names = fc.dictionary(fc.constantFrom("a", "b", "c", "d"), fc.integer({ min: 1, max: 3 }), {
  noNullPrototype: true,
});
const worlds = fc.array(fc.tuple(fc.record({ c: names, e: names, l: names }), fc.boolean()), {
  maxLength: 8,
  minLength: 1,
});

test.each(["delta", "sotw"] as const)(
  "%s: any updates and reconnects end with the client holding the server's set",
  (variant) => {
    fc.assert(
      fc.property(worlds, (steps) => {
        const client =
          variant === "delta" ? new DeltaClientState(node, () => []) : new SotwClientState(node, () => []);
        const open = () => (variant === "delta" ? new DeltaStream(counter()) : new SotwStream(counter()));
        client.subscribe(TYPE.cluster, "*");
        client.subscribe(TYPE.listener, "*");
        let stream = open();
        let inbox: unknown[] = client.connect();
        for (const [state, reconnect] of steps) {
          if (reconnect) {
            client.disconnect();
            stream = open();
            inbox = client.connect();
          }
          stream.update(world(state));
          for (let round = 0; round < 100; round++) {
            for (const request of inbox) stream.request(request as never);
            inbox = [];
            for (const response of drain<unknown>(stream)) inbox.push(...client.receive(response as never));
            if (inbox.length === 0) break;
          }
          expect(inbox).toEqual([]);
        }
        const last = steps.at(-1)?.[0] ?? { c: {}, e: {}, l: {} };
        const known = client.known();
        for (const type of [TYPE.cluster, TYPE.listener]) {
          const want = [...(world(last).get(type) ?? [])].map(([name, r]) => [name, r.version]);
          expect(known[type]).toEqual(Object.fromEntries(want));
        }
        expect(Object.keys(known[TYPE.endpoints] ?? {}).sort()).toEqual(Object.keys(last.c).sort());
      }),
      { numRuns: 200 },
    );
  },
);
const node = create(NodeSchema, { id: "sidecar~127.0.1.1~a.b~b.svc.cluster.local" });
