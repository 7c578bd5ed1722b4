/** Cluster -> its compiled form without hosts; config/store.ts adds those. */
import {
  Cluster_LbPolicy as Lb,
  Cluster_DiscoveryType as Type,
  type Cluster as Wire,
} from "#xds/gen/envoy/config/cluster/v3/cluster_pb.js";
import type { ClusterLoadAssignment } from "#xds/gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { HttpProtocolOptionsSchema } from "#xds/gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js";
import type { Cluster, LbPolicy, OutlierDetection } from "../../snapshot.ts";
import { unpack } from "./any.ts";
import { milliseconds, type Problems } from "./problems.ts";
import { decodeUpstreamTls } from "./tls.ts";

export interface DecodedCluster {
  readonly cluster: Omit<Cluster, "hosts" | "priorities" | "overprovisioningFactor" | "hash">;
  readonly inline: ClusterLoadAssignment | null;
}

const TYPES = {
  [Type.STATIC]: "STATIC",
  [Type.STRICT_DNS]: "STRICT_DNS",
  [Type.LOGICAL_DNS]: "LOGICAL_DNS",
  [Type.EDS]: "EDS",
  [Type.ORIGINAL_DST]: "ORIGINAL_DST",
} as const;
const POLICIES: Partial<Record<Lb, LbPolicy>> = {
  [Lb.ROUND_ROBIN]: "ROUND_ROBIN",
  [Lb.LEAST_REQUEST]: "LEAST_REQUEST",
  [Lb.RING_HASH]: "RING_HASH",
  [Lb.RANDOM]: "RANDOM",
  [Lb.MAGLEV]: "MAGLEV",
  [Lb.CLUSTER_PROVIDED]: "CLUSTER_PROVIDED",
};

/** Endpoints of EDS come apart; `inline` has those that the cluster carries itself. */
export function decodeCluster(wire: Wire, problems: Problems): DecodedCluster {
  const discovery = wire.clusterDiscoveryType;
  const custom = discovery.case === "clusterType";
  if (custom && !discovery.value.name.includes("dynamic_forward_proxy"))
    problems.at("cluster_type").error(`${discovery.value.name} is not supported`);
  const options = unpack(
    wire.typedExtensionProtocolOptions["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"],
    HttpProtocolOptionsSchema,
    problems.at("typed_extension_protocol_options"),
  );
  const common = options?.commonHttpProtocolOptions ?? wire.commonHttpProtocolOptions;
  const protocol = options?.upstreamProtocolOptions;
  const explicit = protocol?.case === "explicitHttpConfig" ? protocol.value.protocolConfig : undefined;
  const limits = wire.circuitBreakers?.thresholds.find((t) => t.priority === 0);
  const policy = POLICIES[wire.lbPolicy];
  if (wire.outlierDetection !== undefined)
    problems.at("outlier_detection").warn("is ignored: no host is ejected");
  if (policy === undefined) problems.at("lb_policy").error(`${wire.lbPolicy} is not supported`);
  const istio = wire.metadata?.filterMetadata.istio ?? {};
  const keepalive = wire.upstreamConnectionOptions?.tcpKeepalive;
  for (const filter of wire.filters) {
    if (filter.name !== "istio.metadata_exchange")
      problems.at("filters").error(`${filter.name} is not supported`);
  }
  return {
    inline: wire.loadAssignment ?? null,
    cluster: {
      name: wire.name,
      type: custom ? "DYNAMIC_FORWARD_PROXY" : TYPES[discovery.value ?? Type.STATIC],
      edsServiceName: discovery.value === Type.EDS ? wire.edsClusterConfig?.serviceName || wire.name : null,
      lbPolicy: policy ?? "ROUND_ROBIN",
      leastRequestChoices:
        wire.lbConfig.case === "leastRequestLbConfig" ? (wire.lbConfig.value.choiceCount ?? 2) : 2,
      connectTimeoutMs: milliseconds(wire.connectTimeout, 5000),
      sourceAddress: wire.upstreamBindConfig?.sourceAddress?.address || null,
      protocol:
        explicit?.case === "http2ProtocolOptions" ||
        (options === undefined && wire.http2ProtocolOptions !== undefined)
          ? "HTTP2"
          : protocol?.case === "useDownstreamProtocolConfig"
            ? "DOWNSTREAM"
            : "HTTP1",
      idleTimeoutMs: milliseconds(common?.idleTimeout, 3_600_000),
      maxRequestsPerConnection: common?.maxRequestsPerConnection ?? wire.maxRequestsPerConnection ?? 0,
      maxConnections: limits?.maxConnections ?? 1024,
      maxPendingRequests: limits?.maxPendingRequests ?? 1024,
      maxRequests: limits?.maxRequests ?? 1024,
      maxRetries: limits?.maxRetries ?? 3,
      outlierDetection: decodeOutlier(wire),
      healthyPanicThreshold: wire.commonLbConfig?.healthyPanicThreshold?.value ?? 50,
      transportSocketMatches: wire.transportSocketMatches.map((m, i) => ({
        name: m.name,
        match: strings(m.match ?? {}),
        tls: decodeUpstreamTls(m.transportSocket, problems.at("transport_socket_matches").at(i)),
      })),
      transportSocket: decodeUpstreamTls(wire.transportSocket, problems.at("transport_socket")),
      alpnOverride: istio.alpn_override !== "false",
      istio: {
        services: services(istio.services),
        config: typeof istio.config === "string" ? istio.config : null,
        subset: typeof istio.subset === "string" ? istio.subset : null,
      },
      metadata: wire.metadata?.filterMetadata ?? {},
      tcpKeepalive:
        keepalive === undefined
          ? null
          : {
              probes: keepalive.keepaliveProbes ?? 9,
              timeSeconds: keepalive.keepaliveTime ?? 7200,
              intervalSeconds: keepalive.keepaliveInterval ?? 75,
            },
    },
  };
}

function strings(object: Record<string, unknown>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(object).map(([key, value]) => [
      key,
      typeof value === "string" ? value : JSON.stringify(value),
    ]),
  );
}

function services(value: unknown): { host: string; name: string; namespace: string }[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((s: unknown) => {
    if (typeof s !== "object" || s === null) return [];
    const { host, name, namespace } = s as Record<string, unknown>;
    return [{ host: String(host ?? ""), name: String(name ?? ""), namespace: String(namespace ?? "") }];
  });
}

/** enforcing_* 0 switches a detector off; percentages between are taken as on. */
function decodeOutlier(wire: Wire): OutlierDetection | null {
  const o = wire.outlierDetection;
  if (o === undefined) return null;
  return {
    consecutive5xx: o.enforcingConsecutive5xx === 0 ? 0 : (o.consecutive5xx ?? 5),
    consecutiveGatewayFailure:
      (o.enforcingConsecutiveGatewayFailure ?? 0) === 0 ? 0 : (o.consecutiveGatewayFailure ?? 5),
    consecutiveLocalOriginFailure:
      o.enforcingConsecutiveLocalOriginFailure === 0 ? 0 : (o.consecutiveLocalOriginFailure ?? 5),
    splitExternalLocalOriginErrors: o.splitExternalLocalOriginErrors,
    intervalMs: milliseconds(o.interval, 10_000),
    baseEjectionTimeMs: milliseconds(o.baseEjectionTime, 30_000),
    maxEjectionTimeMs: milliseconds(o.maxEjectionTime, 300_000),
    maxEjectionPercent: o.maxEjectionPercent ?? 10,
  };
}
