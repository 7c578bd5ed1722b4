import type { ClusterIr, UpstreamTlsIr, WorkloadIr } from "#ir/index.ts";
import { Memo } from "#lib/memo.ts";
import { ClusterSchema } from "#xds/gen/envoy/config/cluster/v3/cluster_pb.js";
import { RawBufferSchema } from "#xds/gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.js";
import { HttpProtocolOptionsSchema } from "#xds/gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js";
import { TYPE } from "#xds/index.ts";
import { connectClusters } from "./connect.ts";
import { clusterName, sourceMetadata, tcpClusterName, type WriteContext } from "./context.ts";
import { loadAssignment } from "./endpoints.ts";
import {
  any,
  compact,
  duration,
  encode,
  extended,
  extension,
  type Json,
  type Resource,
  resource,
  socketAddress,
} from "./resource.ts";
import { meshUpstreamTls, simpleUpstreamTls } from "./tls.ts";
import type { Writing } from "./unwritten.ts";

const UNLIMITED = 4294967295;
/** Loop guard: iptables lets what comes from here pass (local/network/rules.ts). */
const INBOUND_SOURCE = "127.0.0.6";
const HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

export function writeClusters(ir: WorkloadIr, context: WriteContext, writing: Writing): void {
  // The caller's address is what its peers know it by (policies, metrics), and the mark that lets the traffic of a
  // transparent proxy pass. An explicit pod's is on loopback, from where only pods can be reached.
  const transparent = ir.interception.kind === "transparent";
  const source = transparent ? ir.ip : null;
  const bodies: Json[] = [
    { name: "BlackHoleCluster", type: "STATIC", connect_timeout: "10s" },
    passthrough("PassthroughCluster", source),
  ];
  if (ir.kind === "sidecar") {
    const inbound = new Map(ir.inbound.map((p) => [p.port, inboundCluster(p.port, ir)]));
    bodies.push(...inbound.values());
    if (ir.interception.kind === "transparent")
      bodies.push(passthrough("InboundPassthroughCluster", INBOUND_SOURCE));
  }
  if (ir.interception.kind === "explicit" && ir.kind === "sidecar")
    bodies.push(...connectClusters(ir, ir.interception));
  if (context.otlpPath !== null) bodies.push(tracingCluster(context.otlpPath));
  const bound = encode(ClusterSchema, bind(ir.ip));
  for (const c of ir.clusters) {
    const blame = () => (c.source === null ? [] : [c.source]);
    writing.add(TYPE.cluster, clusterName(c), blame, () =>
      outboundClusters(c).map((shared) => {
        if (!transparent && !c.selectsPods) return shared;
        return boundTo.get(shared, ir.ip, () => extended(shared, bound, ir.ip));
      }),
    );
  }
  for (const body of bodies)
    writing.add(
      TYPE.cluster,
      body.name as string,
      () => [],
      () => clusterResource(body),
    );
}

/** Proxies that share a cluster of the IR share its bytes; their own source address is appended. */
const outbound = new Memo<readonly Resource[]>();
function outboundClusters(c: ClusterIr): readonly Resource[] {
  return outbound.get(c, "", () =>
    [outboundCluster(c), ...(c.protocol === "auto" ? [tcpCluster(c)] : [])].map(clusterResource),
  );
}

const boundTo = new Memo<Resource>();

function clusterResource(body: Json): Resource {
  return resource(ClusterSchema, body.name as string, { alt_stat_name: `${body.name};`, ...body });
}

function tracingCluster(path: string): Json {
  return {
    name: "weft-otlp",
    type: "STATIC",
    connect_timeout: "1s",
    load_assignment: {
      cluster_name: "weft-otlp",
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path } } } }] }],
    },
  };
}

function bind(address: string | null): Json {
  return address === null ? {} : { upstream_bind_config: { source_address: { address, port_value: 0 } } };
}

function passthrough(name: string, source: string | null): Json {
  return {
    name,
    type: "ORIGINAL_DST",
    lb_policy: "CLUSTER_PROVIDED",
    connect_timeout: "10s",
    circuit_breakers: breakers(null),
    typed_extension_protocol_options: {
      [HTTP_OPTIONS]: any(HttpProtocolOptionsSchema, {
        common_http_protocol_options: { idle_timeout: "300s" },
        use_downstream_protocol_config: { http_protocol_options: {}, http2_protocol_options: {} },
      }),
    },
    ...bind(source),
  };
}

function inboundCluster(port: number, ir: WorkloadIr): Json {
  const name = `inbound|${port}||`;
  const ports = ir.inbound.filter((p) => p.port === port);
  const protocol = ports[0]?.protocol ?? "tcp";
  const services = ports.flatMap(({ host, service }) =>
    host === null || service === null ? [] : [{ host, name: service.name, namespace: service.namespace }],
  );
  const common: Json = {
    name,
    connect_timeout: "10s",
    circuit_breakers: breakers(null),
    ...protocolOptions(protocol, null),
    ...(services.length === 0 ? {} : { metadata: { filter_metadata: { istio: { services } } } }),
  };
  if (ir.interception.kind === "explicit") {
    return {
      ...common,
      type: "STATIC",
      load_assignment: {
        cluster_name: name,
        endpoints: [
          { lb_endpoints: [{ endpoint: { address: socketAddress(ir.interception.appAddress, port) } }] },
        ],
      },
    };
  }
  return {
    ...common,
    type: "ORIGINAL_DST",
    lb_policy: "CLUSTER_PROVIDED",
    cleanup_interval: "9223372035s",
    ...bind(INBOUND_SOURCE),
  };
}

function outboundCluster(c: ClusterIr): Json {
  const name = clusterName(c);
  const pool = c.pool;
  const keepalive = pool?.keepalive ?? null;
  return {
    name,
    ...discovery(c, name),
    ...balancing(c),
    connect_timeout: duration(pool?.connectTimeoutMs ?? 10_000),
    circuit_breakers: breakers(pool),
    ...outlier(c),
    ...(keepalive === null
      ? {}
      : {
          upstream_connection_options: {
            tcp_keepalive: compact({
              keepalive_probes: keepalive.probes,
              keepalive_time: keepalive.timeMs === null ? null : Math.ceil(keepalive.timeMs / 1000),
              keepalive_interval:
                keepalive.intervalMs === null ? null : Math.ceil(keepalive.intervalMs / 1000),
            }),
          },
        }),
    ...protocolOptions(pool?.upgradeToHttp2 ? "http2" : c.protocol, pool, c.tls),
    ...transport(c.tls, alpn(c)),
    metadata: metadata(c),
  };
}

function tcpCluster(c: ClusterIr): Json {
  return { ...outboundCluster(c), name: tcpClusterName(c), ...transport(c.tls, TCP_ALPN) };
}

function metadata(c: ClusterIr): Json {
  const base = sourceMetadata(c.source)?.filter_metadata as Json | undefined;
  return {
    filter_metadata: {
      ...base,
      istio: {
        ...(base?.istio as Json | undefined),
        ...(c.external ? { external: true } : {}),
        ...(c.subset === "" ? {} : { subset: c.subset }),
        services: [{ host: c.service.host ?? c.host, name: c.service.name, namespace: c.service.namespace }],
      },
    },
  };
}

function discovery(c: ClusterIr, name: string): Json {
  switch (c.endpoints.kind) {
    case "eds":
      return {
        type: "EDS",
        eds_cluster_config: {
          eds_config: { ads: {}, initial_fetch_timeout: "0s", resource_api_version: "V3" },
          service_name: name,
        },
      };
    case "static":
      return { type: "STATIC", load_assignment: loadAssignment(name, c.endpoints.endpoints) };
    case "dns":
    case "dns-round-robin":
      return {
        type: c.endpoints.kind === "dns" ? "STRICT_DNS" : "LOGICAL_DNS",
        dns_refresh_rate: "60s",
        respect_dns_ttl: true,
        dns_lookup_family: "V4_ONLY",
        load_assignment: loadAssignment(name, c.endpoints.endpoints),
      };
    case "original-destination":
      return { type: "ORIGINAL_DST" };
  }
}

function balancing(c: ClusterIr): Json {
  if (c.endpoints.kind === "original-destination") return { lb_policy: "CLUSTER_PROVIDED" };
  switch (c.lb.kind) {
    case "least-request":
    case "passthrough":
      return { lb_policy: "LEAST_REQUEST" };
    case "round-robin":
      return { lb_policy: "ROUND_ROBIN" };
    case "random":
      return { lb_policy: "RANDOM" };
    case "hash":
      return { lb_policy: "RING_HASH", ring_hash_lb_config: { minimum_ring_size: c.lb.minimumRingSize } };
  }
}

function breakers(pool: ClusterIr["pool"]): Json {
  return {
    thresholds: [
      {
        max_connections: pool?.maxConnections ?? UNLIMITED,
        max_pending_requests: pool?.maxPendingRequests ?? UNLIMITED,
        max_requests: pool?.maxRequests ?? UNLIMITED,
        max_retries: pool?.maxRetries ?? UNLIMITED,
        track_remaining: true,
      },
    ],
  };
}

function outlier(c: ClusterIr): Json {
  const o = c.outlier;
  if (o === null) return { common_lb_config: { healthy_panic_threshold: { value: 0 } } };
  const ms = (v: number | null) => (v === null ? null : duration(v));
  const enforced = (v: number | null) => (v === null ? null : v > 0 ? 100 : 0);
  const count = (v: number | null) => (v === null || v === 0 ? null : v);
  return {
    outlier_detection: compact({
      consecutive_5xx: count(o.consecutive5xx),
      enforcing_consecutive_5xx: enforced(o.consecutive5xx),
      consecutive_gateway_failure: count(o.consecutiveGatewayErrors),
      enforcing_consecutive_gateway_failure: enforced(o.consecutiveGatewayErrors),
      split_external_local_origin_errors: o.splitLocalOriginErrors ? true : null,
      consecutive_local_origin_failure: count(o.consecutiveLocalOriginFailures),
      enforcing_consecutive_local_origin_failure: enforced(o.consecutiveLocalOriginFailures),
      interval: ms(o.intervalMs),
      base_ejection_time: ms(o.baseEjectionMs),
      max_ejection_percent: o.maxEjectionPercent,
      enforcing_success_rate: 0,
    }),
    common_lb_config: { healthy_panic_threshold: { value: o.minHealthPercent } },
  };
}

function protocolOptions(
  protocol: ClusterIr["protocol"],
  pool: ClusterIr["pool"],
  tls?: UpstreamTlsIr,
): Json {
  const http2 = protocol === "http2" || protocol === "grpc";
  const streams = pool?.maxConcurrentStreams ?? null;
  const h2 = compact({ max_concurrent_streams: streams });
  const common = compact({
    idle_timeout: pool?.httpIdleTimeoutMs == null ? null : duration(pool.httpIdleTimeoutMs),
    max_requests_per_connection: pool?.maxRequestsPerConnection || null,
    max_connection_duration:
      pool?.maxConnectionDurationMs == null ? null : duration(pool.maxConnectionDurationMs),
  });
  const autoSni = tls?.kind === "simple" && tls.sni === null;
  const plainHttp = protocol !== "auto" && !http2;
  if (plainHttp && Object.keys(common).length === 0 && !autoSni) return {};
  return {
    typed_extension_protocol_options: {
      [HTTP_OPTIONS]: any(HttpProtocolOptionsSchema, {
        common_http_protocol_options: common,
        ...(autoSni ? { upstream_http_protocol_options: { auto_sni: true, auto_san_validation: true } } : {}),
        ...(protocol === "auto"
          ? { use_downstream_protocol_config: { http_protocol_options: {}, http2_protocol_options: h2 } }
          : { explicit_http_config: http2 ? { http2_protocol_options: h2 } : { http_protocol_options: {} } }),
      }),
    },
  };
}

const TCP_ALPN = ["istio"];

/** Static lists that stand for the istio.alpn filter, which stock Envoy lacks. */
function alpn(c: ClusterIr): string[] {
  if (c.protocol === "http2" || c.protocol === "grpc" || c.pool?.upgradeToHttp2)
    return ["istio-h2", "istio", "h2"];
  if (c.protocol === "http") return ["istio-http/1.1", "istio", "http/1.1"];
  // What the client speaks goes on, HTTP/1.1 or h2c. These names choose the callee's HTTP chain and no server selects
  // them, so that the preface tells which of the two it is.
  if (c.protocol === "auto") return ["istio-http/1.1", "istio"];
  return TCP_ALPN;
}

function transport(tls: UpstreamTlsIr, protocols: string[]): Json {
  switch (tls.kind) {
    case "plain":
      return {};
    case "mutual":
      return { transport_socket: meshUpstreamTls(tls.sni, tls.sans, protocols) };
    case "auto":
      return {
        transport_socket_matches: [
          {
            name: "tlsMode-istio",
            match: { tlsMode: "istio" },
            transport_socket: meshUpstreamTls(tls.sni, tls.sans, protocols),
          },
          {
            name: "tlsMode-disabled",
            match: {},
            transport_socket: extension("envoy.transport_sockets.raw_buffer", RawBufferSchema),
          },
        ],
      };
    case "simple":
      return { transport_socket: simpleUpstreamTls(tls) };
  }
}
