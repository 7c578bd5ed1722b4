/**
 * What the HTTP proxy of explicit mode does beyond requests to services. CONNECT HOST:PORT leads to the pod's own listener
 * of that service, so that what comes through the tunnel meets what a direct connection meets: sniffing, routes, mTLS.
 * Hosts outside of the mesh, by CONNECT or by an absolute target, are resolved by the proxy.
 */
import type { InterceptionIr, WorkloadIr } from "#ir/index.ts";
import { ClusterConfigSchema } from "#xds/gen/envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster_pb.js";
import { FilterConfigSchema } from "#xds/gen/envoy/extensions/filters/http/dynamic_forward_proxy/v3/dynamic_forward_proxy_pb.js";
import { explicitAddress } from "./context.ts";
import { extension, type Json } from "./resource.ts";

type Explicit = Extract<InterceptionIr, { kind: "explicit" }>;

export const OUTSIDE = "OutsideCluster";
/** The filter and the cluster must say the same: they share what was resolved. */
const DNS_CACHE: Json = { name: "outside", dns_lookup_family: "V4_PREFERRED" };

export const outsideFilter = extension("envoy.filters.http.dynamic_forward_proxy", FilterConfigSchema, {
  dns_cache_config: DNS_CACHE,
});

/** The cluster for hosts outside of the mesh, and one per service, which leads to the pod's own listener of it. */
export function connectClusters(ir: WorkloadIr, mode: Explicit): Json[] {
  const outside: Json = {
    name: OUTSIDE,
    connect_timeout: "10s",
    lb_policy: "CLUSTER_PROVIDED",
    cluster_type: extension("envoy.clusters.dynamic_forward_proxy", ClusterConfigSchema, {
      dns_cache_config: DNS_CACHE,
    }),
  };
  const own = [...services(ir)].map(([, { address, port }]): Json => {
    const name = connectCluster(address, port);
    const endpoint = {
      address: {
        socket_address: { address: explicitAddress(mode.servicePrefix, address), port_value: port },
      },
    };
    return {
      name,
      type: "STATIC",
      connect_timeout: "10s",
      load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint }] }] },
    };
  });
  return [outside, ...own];
}

/** Clusters by service, `host:port`: the name of the virtual hosts of the proxy's table. */
export function connectTargets(ir: WorkloadIr): Map<string, string> {
  return new Map([...services(ir)].map(([name, { address, port }]) => [name, connectCluster(address, port)]));
}

function services(ir: WorkloadIr): Map<string, { address: string; port: number }> {
  const found = new Map<string, { address: string; port: number }>();
  for (const { host, port, addresses } of [...ir.httpServices, ...ir.tcpServices]) {
    const address = addresses.find((a) => !a.includes("/"));
    if (address !== undefined) found.set(`${host}:${port}`, { address, port });
  }
  return found;
}

const connectCluster = (address: string, port: number): string => `connect|${port}||${address}`;

/** `cluster` null: 502, as where a proxy does not know the host. */
export function connectRoute(cluster: string | null): Json {
  return {
    name: "connect",
    match: { connect_matcher: {} },
    ...(cluster === null
      ? { direct_response: { status: 502 } }
      : {
          route: {
            cluster,
            timeout: "0s",
            upgrade_configs: [{ upgrade_type: "CONNECT", connect_config: {} }],
          },
        }),
  };
}
