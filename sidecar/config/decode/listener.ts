/** Listener -> its compiled form. Route tables of RDS are put in by config/store.ts. */
import { createHash } from "node:crypto";
import { toBinary } from "@bufbuild/protobuf";
import { TrafficDirection } from "#xds/gen/envoy/config/core/v3/base_pb.js";
import {
  type Filter,
  FilterChainSchema,
  type ListenerFilterChainMatchPredicate as Predicate,
  type FilterChain as WireChain,
} from "#xds/gen/envoy/config/listener/v3/listener_components_pb.js";
import { ListenerSchema, type Listener as Wire } from "#xds/gen/envoy/config/listener/v3/listener_pb.js";
import { HttpConnectionManagerSchema } from "#xds/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { RBACSchema } from "#xds/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js";
import { TcpProxySchema } from "#xds/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js";
import type {
  FilterChain,
  HttpConfig,
  Listener,
  ListenerFilter,
  NetworkFilter,
  TcpConfig,
} from "../../snapshot.ts";
import { findFilterChain } from "../filter-chains.ts";
import { decodeAccessLogs } from "./access-log.ts";
import { typeOf, unpack } from "./any.ts";
import { decodeCidr } from "./cidr.ts";
import { decodeHttp } from "./http.ts";
import { milliseconds, type Problems } from "./problems.ts";
import { DENY_ALL, decodeRbac } from "./rbac.ts";
import { decodeDownstreamTls } from "./tls.ts";

/** They guard nothing; the work of istio's two is done by sidecar/telemetry on every chain. */
const OBSERVERS = new Set([
  "istio.metadata_exchange",
  "istio.stats",
  "envoy.filters.network.mongo_proxy",
  "envoy.filters.network.mysql_proxy",
]);

/** A chain that cannot be read is an error of the whole listener: its last good version stays. */
export function decodeListener(wire: Wire, problems: Problems): Listener {
  const address = wire.address?.address;
  const socket = address?.case === "socketAddress" ? address.value : undefined;
  if (socket === undefined && address?.case !== "pipe")
    problems.at("address").error("must be a socket address or a pipe");
  const inspector = (type: string): ListenerFilter | null => {
    const filter = wire.listenerFilters.find(
      (f) => f.configType.case === "typedConfig" && typeOf(f.configType.value).endsWith(type),
    );
    if (filter === undefined) return null;
    const { filterDisabled } = filter;
    return {
      disabledFor: filterDisabled === undefined ? () => false : (port) => disabled(filterDisabled, port),
    };
  };
  const chains = wire.filterChains.map((chain, i) => decodeChain(chain, problems.at("filter_chains").at(i)));
  const fallback =
    wire.defaultFilterChain === undefined
      ? null
      : decodeChain(wire.defaultFilterChain, problems.at("default_filter_chain"));
  return makeListener({
    name: wire.name,
    address: socket?.address ?? "",
    port: socket?.portSpecifier.case === "portValue" ? socket.portSpecifier.value : 0,
    pipe: address?.case === "pipe" ? address.value.path : null,
    bindToPort: wire.bindToPort !== false && wire.deprecatedV1?.bindToPort !== false,
    useOriginalDst: wire.useOriginalDst === true,
    restoresOriginalDst:
      wire.useOriginalDst === true || wire.listenerFilters.some((f) => f.name.includes("original_dst")),
    direction:
      wire.trafficDirection === TrafficDirection.INBOUND
        ? "INBOUND"
        : wire.trafficDirection === TrafficDirection.OUTBOUND
          ? "OUTBOUND"
          : "UNSPECIFIED",
    tlsInspector: inspector("TlsInspector"),
    httpInspector: inspector("HttpInspector"),
    listenerFiltersTimeoutMs: milliseconds(wire.listenerFiltersTimeout, 15_000),
    continueOnListenerFiltersTimeout: wire.continueOnListenerFiltersTimeout,
    accessLog: decodeAccessLogs(wire.accessLog, problems.at("access_log")),
    filterChains: chains,
    defaultFilterChain: fallback,
    hash: digest(toBinary(ListenerSchema, wire)),
  });
}

export function makeListener(parts: Omit<Listener, "findFilterChain">): Listener {
  return {
    ...parts,
    findFilterChain: (facts) => findFilterChain(parts.filterChains, parts.defaultFilterChain, facts),
  };
}

/** Half of a SHA-256 in hex: tells versions apart, nothing more. */
export function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex").slice(0, 16);
}

function disabled(predicate: Predicate, port: number): boolean {
  const rule = predicate.rule;
  switch (rule.case) {
    case "orMatch":
      return rule.value.rules.some((r) => disabled(r, port));
    case "andMatch":
      return rule.value.rules.every((r) => disabled(r, port));
    case "notMatch":
      return !disabled(rule.value, port);
    case "anyMatch":
      return rule.value;
    case "destinationPortRange":
      return port >= rule.value.start && port < rule.value.end;
    default:
      return false;
  }
}

function decodeChain(wire: WireChain, problems: Problems): FilterChain {
  const match = wire.filterChainMatch;
  if (
    match !== undefined &&
    (match.sourceType !== 0 || match.directSourcePrefixRanges.length > 0 || match.suffixLen !== undefined)
  ) {
    problems
      .at("filter_chain_match")
      .error("source_type, direct_source_prefix_ranges and suffix_len are not supported");
  }
  const networkFilters: NetworkFilter[] = [];
  let terminal: HttpConfig | TcpConfig | null = null;
  wire.filters.forEach((filter, i) => {
    const at = problems.at("filters").at(i);
    if (terminal !== null) at.error("stands after a terminal filter");
    terminal = decodeFilter(filter, networkFilters, at) ?? terminal;
  });
  if (terminal === null)
    problems.at("filters").error("a filter chain must end in tcp_proxy or http_connection_manager");
  return {
    name: wire.name,
    match: {
      destinationPort: match?.destinationPort ?? 0,
      prefixRanges:
        match?.prefixRanges.map((r, i) =>
          decodeCidr(r, problems.at("filter_chain_match.prefix_ranges").at(i)),
        ) ?? [],
      serverNames: match?.serverNames ?? [],
      transportProtocol: match?.transportProtocol ?? "",
      applicationProtocols: match?.applicationProtocols ?? [],
      sourcePrefixRanges:
        match?.sourcePrefixRanges.map((r, i) =>
          decodeCidr(r, problems.at("filter_chain_match.source_prefix_ranges").at(i)),
        ) ?? [],
      sourcePorts: match?.sourcePorts ?? [],
    },
    tls: decodeDownstreamTls(wire.transportSocket, problems.at("transport_socket")),
    transportSocketConnectTimeoutMs: milliseconds(wire.transportSocketConnectTimeout, 0),
    networkFilters,
    terminal: terminal ?? tcp([]),
    hash: digest(toBinary(FilterChainSchema, wire)),
  };
}

function decodeFilter(
  wire: Filter,
  before: NetworkFilter[],
  problems: Problems,
): HttpConfig | TcpConfig | null {
  const any = wire.configType.case === "typedConfig" ? wire.configType.value : undefined;
  const { name } = wire;
  const http = unpack(any, HttpConnectionManagerSchema, problems);
  if (http !== undefined) return decodeHttp(http, problems);
  const proxy = unpack(any, TcpProxySchema, problems);
  if (proxy !== undefined) {
    const spec = proxy.clusterSpecifier;
    if (proxy.tunnelingConfig !== undefined) problems.at("tunneling_config").error("is not supported");
    const weighted =
      spec.case === "weightedClusters"
        ? spec.value.clusters.map((c) => ({
            name: c.name,
            weight: c.weight,
            headers: null,
            hostRewrite: null,
          }))
        : [];
    const clusters =
      spec.case === "cluster"
        ? [{ name: spec.value, weight: 1, headers: null, hostRewrite: null }]
        : weighted;
    if (clusters.length === 0) problems.error("tcp_proxy names no cluster");
    return {
      ...tcp(clusters),
      idleTimeoutMs: milliseconds(proxy.idleTimeout, 3_600_000),
      accessLog: decodeAccessLogs(proxy.accessLog, problems.at("access_log")),
    };
  }
  const rbac = unpack(any, RBACSchema, problems);
  if (rbac !== undefined) before.push({ kind: "rbac", name, rbac: decodeRbac(rbac, problems) });
  else if (OBSERVERS.has(name)) {
    if (!name.startsWith("istio.")) problems.warn(`${name} has no effect in this proxy`);
    before.push({ kind: "noop", name });
  } else {
    problems.warn(
      `${name} (${typeOf(any)}) is unknown here and may guard this chain: its connections are closed`,
    );
    before.push({ kind: "rbac", name, rbac: DENY_ALL });
    // Redis ends its chain; the refusal above stands before this empty end.
    if (name === "envoy.filters.network.redis_proxy") return tcp([]);
  }
  return null;
}

function tcp(clusters: TcpConfig["clusters"]): TcpConfig {
  return { kind: "tcp", clusters, idleTimeoutMs: 3_600_000, accessLog: [] };
}
