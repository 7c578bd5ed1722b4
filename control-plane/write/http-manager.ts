import type { WorkloadIr } from "#ir/index.ts";
import { FileAccessLogSchema } from "#xds/gen/envoy/extensions/access_loggers/file/v3/file_pb.js";
import { CorsSchema } from "#xds/gen/envoy/extensions/filters/http/cors/v3/cors_pb.js";
import { HTTPFaultSchema } from "#xds/gen/envoy/extensions/filters/http/fault/v3/fault_pb.js";
import { FilterConfigSchema as GrpcStatsSchema } from "#xds/gen/envoy/extensions/filters/http/grpc_stats/v3/config_pb.js";
import { RouterSchema } from "#xds/gen/envoy/extensions/filters/http/router/v3/router_pb.js";
import { HttpConnectionManagerSchema } from "#xds/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { UuidRequestIdConfigSchema } from "#xds/gen/envoy/extensions/request_id/uuid/v3/uuid_pb.js";
import { rbacFilters } from "./authorization.ts";
import { outsideFilter } from "./connect.ts";
import type { WriteContext } from "./context.ts";
import { extension, type Json } from "./resource.ts";
import { tracing } from "./tracing.ts";

export type HttpManagerUse =
  | {
      readonly direction: "outbound";
      readonly stat: string;
      readonly table: string;
      readonly absolute: boolean;
    }
  | { readonly direction: "gateway"; readonly stat: string; readonly table: string }
  | {
      readonly direction: "inbound";
      readonly stat: string;
      readonly cluster: string;
      readonly servicePort: number;
      /** Of the service, or "" for a port without one. */
      readonly host: string;
    };

/**
 * Envoy answers 403 to upgrades that are not configured, also to clients that offer TLS/1.2 with every request and go on
 * without it (envoyproxy/envoy#36305). RFC 9110 7.8 lets a server ignore them: all names but "websocket", in any case.
 */
const NOT_WEBSOCKET = [
  ".{0,8}",
  ".{10,}",
  ...Array.from("websocket", (c, i) => `.{${i}}[^${c}${c.toUpperCase()}].{${8 - i}}`),
].join("|");

/** The HTTP connection manager as istiod fills it. */
export function httpManager(context: WriteContext, ir: WorkloadIr, use: HttpManagerUse): Json {
  const inbound = use.direction === "inbound";
  return extension("envoy.filters.network.http_connection_manager", HttpConnectionManagerSchema, {
    stat_prefix: use.stat,
    codec_type: "AUTO",
    ...(inbound ? inboundPart(context, use.cluster, use.host, use.servicePort) : { rds: rds(use.table) }),
    http_protocol_options: {
      ...(use.direction === "outbound" && use.absolute ? { allow_absolute_url: true } : {}),
      ignore_http_11_upgrade: [{ safe_regex: { regex: NOT_WEBSOCKET } }],
    },
    ...(use.direction === "gateway"
      ? {
          use_remote_address: true,
          server_name: "istio-envoy",
          forward_client_cert_details: "SANITIZE_SET",
          set_current_client_cert_details: { subject: true, cert: true, dns: true, uri: true },
        }
      : { use_remote_address: false }),
    http_filters: [
      ...(use.direction === "outbound" ? [] : rbacFilters(ir.authorization, true)),
      extension("envoy.filters.http.grpc_stats", GrpcStatsSchema, { emit_filter_state: true }),
      extension("envoy.filters.http.fault", HTTPFaultSchema),
      extension("envoy.filters.http.cors", CorsSchema),
      ...(use.direction === "outbound" && use.absolute ? [outsideFilter] : []),
      extension("envoy.filters.http.router", RouterSchema),
    ],
    upgrade_configs: [
      { upgrade_type: "websocket" },
      ...(use.direction === "outbound" && use.absolute ? [{ upgrade_type: "CONNECT" }] : []),
    ],
    stream_idle_timeout: "0s",
    normalize_path: true,
    path_with_escaped_slashes_action: "KEEP_UNCHANGED",
    proxy_100_continue: true,
    request_id_extension: {
      typed_config: extension("", UuidRequestIdConfigSchema, { use_request_id_for_trace_sampling: true })
        .typed_config as Json,
    },
    ...tracing(context, ir),
    access_log: accessLog(context),
  });
}

function rds(table: string): Json {
  return {
    config_source: { ads: {}, initial_fetch_timeout: "0s", resource_api_version: "V3" },
    route_config_name: table,
  };
}

function inboundPart(context: WriteContext, cluster: string, host: string, servicePort: number): Json {
  return {
    server_name: "istio-envoy",
    forward_client_cert_details: "APPEND_FORWARD",
    set_current_client_cert_details: { subject: true, dns: true, uri: true },
    route_config: {
      name: cluster,
      validate_clusters: false,
      virtual_hosts: [
        {
          name: `inbound|http|${servicePort}`,
          domains: ["*"],
          routes: [
            {
              name: "default",
              match: { prefix: "/" },
              route: {
                cluster,
                timeout: "0s",
                // As istiod, for connections that the app closes when they are idle. Our sidecar does so by itself.
                ...(context.flavour === "weft"
                  ? {}
                  : { retry_policy: { retry_on: "reset-before-request", num_retries: 2 } }),
                max_stream_duration: { max_stream_duration: "0s", grpc_timeout_header_max: "0s" },
              },
              decorator: { operation: `${host}:${servicePort}/*` },
            },
          ],
        },
      ],
    },
  };
}

/** To the proxy's stdout, in istiod's default format; none where the mesh has it off. */
export function accessLog(context: WriteContext): Json[] {
  if (!context.accessLog) return [];
  return [
    extension("envoy.access_loggers.file", FileAccessLogSchema, {
      path: "/dev/stdout",
      log_format: { text_format_source: { inline_string: ACCESS_LOG_FORMAT } },
    }),
  ];
}

/** Of a listener: connections that no chain takes; the others are logged where they are served. */
export function refusalLog(context: WriteContext): Json[] {
  return accessLog(context).map((log) => ({
    ...log,
    filter: { response_flag_filter: { flags: ["NR"] } },
  }));
}

/** istiod's default (istio.io/latest/docs/tasks/observability/logs/access-log), field by field. */
const ACCESS_LOG_FORMAT = `${[
  "[%START_TIME%]",
  '"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%"',
  "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS%",
  '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION%',
  '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%"',
  '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW%',
  "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS%",
  "%REQUESTED_SERVER_NAME% %ROUTE_NAME%",
].join(" ")}\n`;
