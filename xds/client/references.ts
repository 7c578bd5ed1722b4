import type { Any } from "@bufbuild/protobuf/wkt";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Cluster_DiscoveryType, ClusterSchema } from "../gen/envoy/config/cluster/v3/cluster_pb.js";
import { ListenerSchema } from "../gen/envoy/config/listener/v3/listener_pb.js";
import { HttpConnectionManagerSchema } from "../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { TYPE } from "../type-urls.ts";

/** The type whose resources a CDS or LDS resource asks for by name. */
export const CHILD: Readonly<Record<string, string>> = {
  [TYPE.cluster]: TYPE.endpoints,
  [TYPE.listener]: TYPE.route,
};

/** Names a cluster (EDS) or listener (RDS) refers to; empty for other types. Throws on bytes that do not decode. */
export function referencesOf(type: string, any: Any): string[] {
  if (type === TYPE.cluster) {
    const cluster = anyUnpack(any, ClusterSchema);
    const eds =
      cluster?.clusterDiscoveryType.case === "type" &&
      cluster.clusterDiscoveryType.value === Cluster_DiscoveryType.EDS;
    return cluster && eds ? [cluster.edsClusterConfig?.serviceName || cluster.name] : [];
  }
  if (type !== TYPE.listener) return [];
  const listener = anyUnpack(any, ListenerSchema);
  if (listener === undefined) return [];
  const names: string[] = [];
  const chains = listener.defaultFilterChain
    ? [...listener.filterChains, listener.defaultFilterChain]
    : listener.filterChains;
  const configs = chains.flatMap((chain) => chain.filters.map((f) => f.configType));
  const anys = configs.flatMap((c) => (c.case === "typedConfig" ? [c.value] : []));
  // gRPC clients get an api_listener instead of filter chains.
  if (listener.apiListener?.apiListener) anys.push(listener.apiListener.apiListener);
  for (const config of anys) {
    const manager = anyUnpack(config, HttpConnectionManagerSchema);
    if (manager?.routeSpecifier.case === "rds") names.push(manager.routeSpecifier.value.routeConfigName);
  }
  return names;
}
