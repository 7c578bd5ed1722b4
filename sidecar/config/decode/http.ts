/** HttpConnectionManager -> HttpConfig. */
import { OpenTelemetryConfigSchema } from "#xds/gen/envoy/config/trace/v3/opentelemetry_pb.js";
import { HTTPFaultSchema } from "#xds/gen/envoy/extensions/filters/http/fault/v3/fault_pb.js";
import { RBACSchema } from "#xds/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import type {
  HttpConnectionManager,
  HttpConnectionManager_Tracing,
  HttpFilter as WireFilter,
} from "#xds/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { RouteTable } from "../../route/table.ts";
import type { HttpConfig, HttpFilter, Tracing } from "../../snapshot.ts";
import { decodeAccessLogs } from "./access-log.ts";
import { typeOf, unpack } from "./any.ts";
import { decodeFault } from "./fault.ts";
import { milliseconds, type Problems } from "./problems.ts";
import { DENY_ALL, decodeRbac } from "./rbac.ts";
import { decodeRoutes } from "./route.ts";

const FORWARD = [
  "SANITIZE",
  "FORWARD_ONLY",
  "APPEND_FORWARD",
  "SANITIZE_SET",
  "ALWAYS_FORWARD_ONLY",
] as const;
const SLASHES = [
  "KEEP_UNCHANGED",
  "KEEP_UNCHANGED",
  "REJECT_REQUEST",
  "UNESCAPE_AND_REDIRECT",
  "UNESCAPE_AND_FORWARD",
] as const;

/** Envoy's default, and the most that http1/ reads. */
const MAX_HEADERS_KIB = 60;

/** Filters that only observe: without them nothing that should be refused gets through. */
/** They guard nothing; the work of istio's two is done by sidecar/telemetry on every chain. */
const OBSERVERS = new Set([
  "istio.metadata_exchange",
  "istio.stats",
  "envoy.filters.http.grpc_web",
  "envoy.filters.http.stateful_session",
  "envoy.filters.http.dynamic_forward_proxy",
  "envoy.filters.http.tap",
]);

/** A filter that is not known and may guard something answers 403 to all; one that only watches is left out. */
export function decodeHttp(wire: HttpConnectionManager, problems: Problems): HttpConfig {
  const spec = wire.routeSpecifier;
  if (spec.case !== "rds" && spec.case !== "routeConfig")
    problems.error(`${spec.case ?? "no route specifier"} is not supported; use rds or route_config`);
  const common = wire.commonHttpProtocolOptions;
  const filters = wire.httpFilters.flatMap((filter, i) =>
    decodeFilter(filter, problems.at("http_filters").at(i)),
  );
  if (filters.at(-1)?.kind !== "router")
    problems.at("http_filters").error("the last filter must be the router");
  const details = wire.setCurrentClientCertDetails;
  return {
    kind: "http",
    routeConfigName: spec.case === "rds" ? spec.value.routeConfigName : null,
    routes:
      spec.case === "routeConfig"
        ? decodeRoutes(spec.value, problems.at("route_config"))
        : new RouteTable(spec.case === "rds" ? spec.value.routeConfigName : "", [], false),
    filters,
    upgrades: wire.upgradeConfigs
      .filter((u) => u.enabled !== false && u.upgradeType.toLowerCase() !== "connect")
      .map((u) => u.upgradeType.toLowerCase()),
    streamIdleTimeoutMs: milliseconds(wire.streamIdleTimeout, 300_000),
    requestTimeoutMs: milliseconds(wire.requestTimeout, 0),
    requestHeadersTimeoutMs: milliseconds(wire.requestHeadersTimeout, 0),
    maxStreamDurationMs: milliseconds(common?.maxStreamDuration, 0),
    idleTimeoutMs: milliseconds(common?.idleTimeout, 3_600_000),
    maxConnectionDurationMs: milliseconds(common?.maxConnectionDuration, 0),
    normalizePath: wire.normalizePath === true,
    mergeSlashes: wire.mergeSlashes,
    pathWithEscapedSlashes: SLASHES[wire.pathWithEscapedSlashesAction] ?? "KEEP_UNCHANGED",
    useRemoteAddress: wire.useRemoteAddress === true,
    xffNumTrustedHops: wire.xffNumTrustedHops,
    generateRequestId: wire.generateRequestId !== false,
    preserveExternalRequestId: wire.preserveExternalRequestId,
    serverName: wire.serverName || "envoy",
    acceptHttp10: wire.httpProtocolOptions?.acceptHttp10 === true,
    maxRequestHeadersBytes: maxHeadersBytes(wire, problems),
    forwardClientCertDetails: FORWARD[wire.forwardClientCertDetails] ?? "SANITIZE",
    setCurrentClientCertDetails: {
      subject: details?.subject === true,
      dns: details?.dns === true,
      uri: details?.uri === true,
      cert: details?.cert === true,
      chain: details?.chain === true,
    },
    tracing: wire.tracing === undefined ? null : decodeTracing(wire.tracing, problems.at("tracing")),
    accessLog: decodeAccessLogs(wire.accessLog, problems.at("access_log")),
  };
}

function maxHeadersBytes(wire: HttpConnectionManager, problems: Problems): number {
  const kib = wire.maxRequestHeadersKb ?? MAX_HEADERS_KIB;
  if (kib > MAX_HEADERS_KIB)
    problems.at("max_request_headers_kb").warn(`${kib} is over the limit of this proxy, ${MAX_HEADERS_KIB}`);
  return Math.min(kib, MAX_HEADERS_KIB) * 1024;
}

function decodeFilter(wire: WireFilter, problems: Problems): HttpFilter[] {
  const { name } = wire;
  if (wire.disabled) {
    problems.warn(`${name} is disabled by default; enabling it per route is not supported`);
    return [];
  }
  const any = wire.configType.case === "typedConfig" ? wire.configType.value : undefined;
  const rbac = unpack(any, RBACSchema, problems);
  if (rbac !== undefined) return [{ kind: "rbac", name, rbac: decodeRbac(rbac, problems) }];
  const fault = unpack(any, HTTPFaultSchema, problems);
  if (fault !== undefined) return [{ kind: "fault", name, fault: decodeFault(fault, problems) }];
  switch (typeOf(any)) {
    case "envoy.extensions.filters.http.router.v3.Router":
      return [{ kind: "router", name }];
    case "envoy.extensions.filters.http.cors.v3.Cors":
      return [{ kind: "cors", name }];
    case "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig":
      return [{ kind: "grpc-stats", name }];
    case "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig":
      // istiod has sent these three lists, and only these, since the filter exists.
      return [
        {
          kind: "alpn",
          name,
          overrides: {
            HTTP10: ["istio-http/1.0", "istio", "http/1.0"],
            HTTP11: ["istio-http/1.1", "istio", "http/1.1"],
            HTTP2: ["istio-h2", "istio", "h2"],
          },
        },
      ];
  }
  if (OBSERVERS.has(name)) {
    if (!name.startsWith("istio.") && !name.endsWith("dynamic_forward_proxy"))
      problems.warn(`${name} has no effect in this proxy`);
    return [{ kind: "noop", name }];
  }
  problems.warn(
    `${name} (${typeOf(any)}) is unknown here and may guard this chain: requests are refused with 403`,
  );
  return [{ kind: "rbac", name, rbac: DENY_ALL }];
}

function decodeTracing(wire: HttpConnectionManager_Tracing, problems: Problems): Tracing {
  const any = wire.provider?.configType.case === "typedConfig" ? wire.provider.configType.value : undefined;
  const otel = unpack(any, OpenTelemetryConfigSchema, problems.at("provider"));
  const http = otel?.httpService?.httpUri;
  if (wire.provider !== undefined && http === undefined)
    problems.at("provider").warn("only OpenTelemetry over HTTP is supported: spans are not exported");
  const valid = http !== undefined && URL.canParse(http.uri);
  if (http !== undefined && !valid) problems.at("provider.http_uri").warn(`"${http.uri}" is not a URL`);
  return {
    clientSampling: wire.clientSampling?.value ?? 100,
    randomSampling: wire.randomSampling?.value ?? 100,
    overallSampling: wire.overallSampling?.value ?? 100,
    otlpCluster: http?.httpUpstreamType.case === "cluster" ? http.httpUpstreamType.value : null,
    otlpUrl: valid ? http.uri : "http://collector/v1/traces",
    serviceName: otel?.serviceName ?? "",
    customTags: wire.customTags.map(({ tag, type }) => ({
      tag,
      literal: type.case === "literal" ? type.value.value : null,
      requestHeader: type.case === "requestHeader" ? type.value.name.toLowerCase() : null,
      environment: type.case === "environment" ? type.value.name : null,
      defaultValue:
        type.case === "requestHeader" || type.case === "environment" || type.case === "metadata"
          ? type.value.defaultValue
          : "",
    })),
  };
}
