/** The sidecar's data plane in this process, from static xDS: listener, filter chain, handler, pool, codec. */

import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { createLogger } from "#lib/log.ts";
import { ConfigStore } from "#sidecar/config/store.ts";
import { HttpHandler } from "#sidecar/http/handler.ts";
import { Pools } from "#sidecar/http/pools.ts";
import { NO_OBSERVER } from "#sidecar/http/request-state.ts";
import { RetryBudget } from "#sidecar/http/retry.ts";
import { DownstreamConnection, type DownstreamOptions } from "#sidecar/http1/downstream.ts";
import { DataPlane } from "#sidecar/proxy.ts";
import { ClusterSchema } from "#xds/gen/envoy/config/cluster/v3/cluster_pb.js";
import { ListenerSchema } from "#xds/gen/envoy/config/listener/v3/listener_pb.js";
import type {
  RetryPolicySchema,
  VirtualHostSchema,
} from "#xds/gen/envoy/config/route/v3/route_components_pb.js";
import { HTTPFaultSchema } from "#xds/gen/envoy/extensions/filters/http/fault/v3/fault_pb.js";
import { RBACSchema } from "#xds/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import { RouterSchema } from "#xds/gen/envoy/extensions/filters/http/router/v3/router_pb.js";
import { HttpConnectionManagerSchema } from "#xds/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { TYPE } from "#xds/index.ts";

export interface PlaneOptions {
  readonly backendPort: number;
  readonly manager?: Exclude<MessageInitShape<typeof HttpConnectionManagerSchema>, { $typeName: string }>;
  readonly rbac?: MessageInitShape<typeof RBACSchema>;
  readonly fault?: MessageInitShape<typeof HTTPFaultSchema>;
  readonly virtualHosts?: MessageInitShape<typeof VirtualHostSchema>[];
  readonly retry?: MessageInitShape<typeof RetryPolicySchema>;
  readonly connection?: Partial<DownstreamOptions>;
}

export interface Plane {
  readonly port: number;
  readonly store: ConfigStore;
  /** Connections whose codec is still there. */
  readonly open: ReadonlySet<DownstreamConnection>;
  stop(): Promise<void>;
}

const pack = <D extends DescMessage>(schema: D, init: MessageInitShape<D>) =>
  anyPack(schema, create(schema, init));
const filter = <D extends DescMessage>(name: string, schema: D, init: MessageInitShape<D>) => ({
  name,
  configType: { case: "typedConfig" as const, value: pack(schema, init) },
});
const at = (portValue: number) => ({
  address: {
    case: "socketAddress" as const,
    value: { address: "127.0.0.1", portSpecifier: { case: "portValue" as const, value: portValue } },
  },
});

/** Every host and path goes to the backend; paths are normalised, websocket may be upgraded to, HTTP/1.0 is taken. */
export async function startPlane(options: PlaneOptions): Promise<Plane> {
  const store = new ConfigStore();
  const routes = [
    {
      match: { pathSpecifier: { case: "prefix" as const, value: "/" } },
      action: {
        case: "route" as const,
        value: {
          clusterSpecifier: { case: "cluster" as const, value: "backend" },
          ...(options.retry === undefined ? {} : { retryPolicy: options.retry }),
        },
      },
    },
  ];
  const manager = pack(HttpConnectionManagerSchema, {
    statPrefix: "test",
    normalizePath: true,
    httpProtocolOptions: { acceptHttp10: true },
    upgradeConfigs: [{ upgradeType: "websocket" }],
    routeSpecifier: {
      case: "routeConfig",
      value: {
        name: "r",
        virtualHosts: options.virtualHosts ?? [{ name: "v", domains: ["*"], routes }],
        ignorePortInHostMatching: true,
      },
    },
    httpFilters: [
      ...(options.rbac === undefined ? [] : [filter("envoy.filters.http.rbac", RBACSchema, options.rbac)]),
      ...(options.fault === undefined
        ? []
        : [filter("envoy.filters.http.fault", HTTPFaultSchema, options.fault)]),
      filter("envoy.filters.http.router", RouterSchema, {}),
    ],
    ...options.manager,
  });
  const listener = pack(ListenerSchema, {
    name: "in",
    address: at(0),
    trafficDirection: 1,
    filterChains: [
      {
        name: "c",
        filters: [
          {
            name: "envoy.filters.network.http_connection_manager",
            configType: { case: "typedConfig", value: manager },
          },
        ],
      },
    ],
  });
  const cluster = pack(ClusterSchema, {
    name: "backend",
    clusterDiscoveryType: { case: "type", value: 0 },
    loadAssignment: {
      clusterName: "backend",
      endpoints: [
        {
          lbEndpoints: [
            { hostIdentifier: { case: "endpoint", value: { address: at(options.backendPort) } } },
          ],
        },
      ],
    },
  });
  for (const [typeUrl, resource] of [
    [TYPE.cluster, cluster],
    [TYPE.listener, listener],
  ] as const) {
    const { refused } = store.update({ typeUrl, resources: [resource] });
    if (refused.length > 0) throw new Error(JSON.stringify(refused));
  }
  const pools = new Pools();
  const retries = new RetryBudget();
  const open = new Set<DownstreamConnection>();
  const plane = new DataPlane(
    {
      trustDomain: "cluster.local",
      secret: () => null,
      denied: () => {},
      refused: () => {},
      undetected: () => {},
      unmatched: () => {},
    },
    {
      tcp: () => {},
      drainHttp: () => {},
      http: (accepted) => {
        const handler = new HttpHandler(accepted, {
          snapshot: () => store.current,
          secret: () => null,
          trustDomain: "cluster.local",
          identity: () => "",
          pools,
          retries,
          observer: NO_OBSERVER,
        });
        const connection = new DownstreamConnection(accepted.stream, handler, {
          headTimeoutMs: 10_000,
          lingerMs: 200,
          ...options.connection,
        });
        open.add(connection);
        accepted.stream.once("close", () => open.delete(connection));
      },
    },
    createLogger("test", "silent"),
  );
  const failed = await plane.publish(store.current);
  if (failed.length > 0) throw new Error(failed.join("; "));
  return { port: plane.listeners.addresses()[0]!.port, store, open, stop: () => plane.drain(0) };
}
