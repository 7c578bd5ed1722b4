import { create } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { describe, expect, test } from "vitest";
import { TestClock } from "#lib/clock.ts";
import { present, recorded } from "#test/harness/recorded.ts";
import { RouteConfigurationSchema } from "#xds/gen/envoy/config/route/v3/route_pb.js";
import { TYPE } from "#xds/index.ts";
import { ConfigStore } from "./store.ts";

describe.each(present("productpage", "productpage-delta"))("warming %s", (sample) => {
  test("a listener waits for its routes, but not for ever", () => {
    const clock = new TestClock();
    const store = new ConfigStore({ clock, warmMs: 1000 });
    store.update({
      typeUrl: TYPE.listener,
      resources: recorded(sample, "Listener"),
      full: true,
    });
    expect(store.current.listeners.has("0.0.0.0_9080")).toBe(false);
    expect(store.current.listeners.has("virtualInbound")).toBe(true);
    clock.advance(1001);
    expect(store.current.listeners.has("0.0.0.0_9080")).toBe(true);
  });

  test("an unchanged resource keeps its object, a changed one does not", () => {
    const store = new ConfigStore();
    const clusters = recorded(sample, "Cluster");
    const endpoints = recorded(sample, "ClusterLoadAssignment");
    store.update({ typeUrl: TYPE.cluster, resources: clusters });
    store.update({ typeUrl: TYPE.endpoints, resources: endpoints });
    const before = store.current.clusters;
    store.update({ typeUrl: TYPE.endpoints, resources: endpoints.slice(0, 1) });
    const after = store.current.clusters;
    const changed = [...after.keys()].filter((name) => after.get(name) !== before.get(name));
    expect(changed).toHaveLength(1);
    // The host outlives the cluster's form: its counters and pools stand on it.
    expect(after.get(changed[0]!)!.hosts[0]).toBe(before.get(changed[0]!)!.hosts[0]);
  });

  test("endpoints that come before, after or again reach the cluster; its removal is seen", () => {
    const store = new ConfigStore();
    const clusters = recorded(sample, "Cluster");
    store.update({
      typeUrl: TYPE.endpoints,
      resources: recorded(sample, "ClusterLoadAssignment"),
    });
    store.update({ typeUrl: TYPE.cluster, resources: clusters });
    const name = "outbound|9080||reviews.default.svc.cluster.local";
    expect(store.current.clusters.get(name)!.hosts.length).toBeGreaterThan(0);
    store.update({ typeUrl: TYPE.endpoints, resources: [], removed: [name] });
    expect(store.current.clusters.get(name)!.hosts).toEqual([]);
    store.update({ typeUrl: TYPE.cluster, resources: [], removed: [name] });
    expect(store.current.clusters.has(name)).toBe(false);
  });

  test("a broken resource is refused and the last good one stays", () => {
    const store = new ConfigStore();
    const good = recorded(sample, "RouteConfiguration");
    expect(store.update({ typeUrl: TYPE.route, resources: good }).refused).toEqual([]);
    const bad = good.map((any) => ({ ...any, value: any.value.subarray(0, 40) }));
    expect(store.update({ typeUrl: TYPE.route, resources: bad }).refused).toHaveLength(1);
    expect(store.current.routeTables.has("9080")).toBe(true);
  });
});

test("what is taken without effect is told, with the place", () => {
  const resource = create(RouteConfigurationSchema, {
    name: "r",
    virtualHosts: [
      {
        name: "v",
        domains: ["*"],
        routes: [
          {
            match: { pathSpecifier: { case: "prefix", value: "/" } },
            action: {
              case: "route",
              value: {
                clusterSpecifier: { case: "cluster", value: "a" },
                requestMirrorPolicies: [{ cluster: "b" }],
                hashPolicy: [{ terminal: true }],
              },
            },
          },
        ],
      },
    ],
  });
  const resources = [anyPack(RouteConfigurationSchema, resource)];
  expect(new ConfigStore().update({ typeUrl: TYPE.route, resources })).toEqual({
    refused: [],
    warnings: [
      "r: virtual_hosts[0].routes[0].route.request_mirror_policies: is ignored",
      "r: virtual_hosts[0].routes[0].route.hash_policy: is ignored",
    ],
  });
});
