/** What a stock Envoy is started with: the same shape as pilot-agent's envoy_bootstrap.json, less its Istio extensions. */
import { type Bootstrap, type ListenAddress, RECONNECT_MS } from "../bootstrap.ts";

type Json = Record<string, unknown>;

const http2 = {
  "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    explicit_http_config: { http2_protocol_options: {} },
  },
};

const address = (at: ListenAddress): Json =>
  at.kind === "unix"
    ? { pipe: { path: at.path, mode: 0o600 } }
    : { socket_address: { address: at.host, port_value: at.port } };

function cluster(name: string, endpoint: Json, more: Json = {}): Json {
  return {
    name,
    type: "pipe" in endpoint ? "STATIC" : "STRICT_DNS",
    connect_timeout: "1s",
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: endpoint } }] }],
    },
    typed_extension_protocol_options: http2,
    ...more,
  };
}

const STATS = "prometheus_stats";

function adminCluster(admin: ListenAddress): Json {
  return cluster(STATS, address(admin), { typed_extension_protocol_options: {} });
}

/** As Istio's 15090: the metrics of the admin page, and nothing else of it. */
function prometheusListener(at: ListenAddress): Json {
  const router = {
    name: "envoy.filters.http.router",
    typed_config: { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
  };
  return {
    name: STATS,
    address: address(at),
    filter_chains: [
      {
        filters: [
          {
            name: "envoy.filters.network.http_connection_manager",
            typed_config: {
              "@type":
                "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
              stat_prefix: "stats",
              route_config: {
                virtual_hosts: [
                  {
                    name: STATS,
                    domains: ["*"],
                    routes: [{ match: { path: "/stats/prometheus" }, route: { cluster: STATS } }],
                  },
                ],
              },
              http_filters: [router],
            },
          },
        ],
      },
    ],
  };
}

/** The bootstrap as proto3 JSON. */
export function envoyBootstrap(config: Bootstrap): Json {
  if (config.sds === null || config.sds.kind !== "unix")
    throw new Error("sds must be unix:/path when the proxy is Envoy");
  const { subZone, ...locality } = config.node.locality;
  return {
    node: {
      id: config.node.id,
      cluster: config.node.cluster,
      metadata: config.node.metadata,
      locality: { ...locality, ...(subZone === undefined ? {} : { sub_zone: subZone }) },
    },
    admin: { address: address(config.admin) },
    dynamic_resources: {
      ads_config: {
        api_type: "DELTA_GRPC",
        transport_api_version: "V3",
        set_node_on_first_message_only: true,
        grpc_services: [
          {
            envoy_grpc: {
              cluster_name: "xds-grpc",
              retry_policy: {
                retry_back_off: {
                  base_interval: `${RECONNECT_MS.base / 1000}s`,
                  max_interval: `${RECONNECT_MS.most / 1000}s`,
                },
              },
            },
          },
        ],
      },
      cds_config: { ads: {}, initial_fetch_timeout: "0s", resource_api_version: "V3" },
      lds_config: { ads: {}, initial_fetch_timeout: "0s", resource_api_version: "V3" },
    },
    static_resources: {
      clusters: [
        // Both at the agent: it relays xDS with a token that is always fresh.
        cluster("xds-grpc", { pipe: { path: config.sds.path } }),
        cluster("sds-grpc", { pipe: { path: config.sds.path } }),
        ...(config.prometheus === null ? [] : [adminCluster(config.admin)]),
      ],
      ...(config.prometheus === null ? {} : { listeners: [prometheusListener(config.prometheus)] }),
    },
    overload_manager: {
      resource_monitors: [
        {
          name: "envoy.resource_monitors.global_downstream_max_connections",
          typed_config: {
            "@type":
              "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
            max_active_downstream_connections: 50000,
          },
        },
      ],
    },
    layered_runtime: {
      layers: [
        {
          name: "weft",
          static_layer: {
            "re2.max_program_size.error_level": 32768,
            // By default Envoy keeps spans up to 5 s, and `weft trace --last` would show a request without its proxies.
            "tracing.opentelemetry.flush_interval_ms": 500,
          },
        },
      ],
    },
  };
}
