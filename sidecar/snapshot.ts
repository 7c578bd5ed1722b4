/**
 * What a connection and a request look up: the xDS resources compiled into one immutable object.
 * Built by config/store.ts and published by one assignment. Names are Envoy's. `null` = not configured, so that the
 * hot path asks one question. Only `Host` carries counters that change; it outlives snapshots (reused by address).
 */

import type { FaultPolicy } from "./filters/fault.ts";
import type { Rbac } from "./filters/rbac.ts";
import type { RouteTable } from "./route/table.ts";

/** A request head as filters and routes see it. Header names are lower case; `path` includes the query. */
export interface HeadView {
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  /** Values of all fields of this name joined with ",", or null. */
  get(lowerName: string): string | null;
  /** Each field's value by itself; empty if absent. */
  getAll(lowerName: string): readonly string[];
  has(lowerName: string): boolean;
}

/** What is known of a downstream connection once its listener filters and handshake are done. */
export interface ConnectionFacts {
  /** Where the client meant to go: the original destination, or the local address of an explicit listener. */
  readonly destinationAddress: string;
  readonly destinationPort: number;
  /** The TCP peer. */
  readonly sourceAddress: string;
  readonly sourcePort: number;
  /** "tls" once tls_inspector saw a ClientHello, else "raw_buffer". */
  readonly transportProtocol: "tls" | "raw_buffer";
  /** The ClientHello's ALPN list, or what http_inspector saw ("http/1.1", "http/1.0", "h2c"); empty if unknown. */
  readonly applicationProtocols: readonly string[];
  /** SNI, or "". */
  readonly serverName: string;
  /** URI SANs of the verified peer certificate; empty without mTLS. Only proven identities stand here. */
  readonly peerIdentities: readonly string[];
}

export interface Snapshot {
  readonly version: number;
  readonly listeners: ReadonlyMap<string, Listener>;
  /** Listeners to open (bind_to_port), and those found by original destination. */
  readonly bound: readonly Listener[];
  /** Exact "ip:port", then "0.0.0.0:port" (or "[::]:port"); null = use the accepting listener's own chains. */
  findByOriginalDst(address: string, port: number): Listener | null;
  readonly clusters: ReadonlyMap<string, Cluster>;
  readonly routeTables: ReadonlyMap<string, RouteTable>;
}

export interface Listener {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  /** Path of a Unix socket instead of address and port, or null. */
  readonly pipe: string | null;
  readonly bindToPort: boolean;
  /** use_original_dst: hand the connection to the listener of its original destination (virtualOutbound only). */
  readonly useOriginalDst: boolean;
  /** The original destination is to be read. virtualInbound reads it but keeps the connection: handed over, it would meet an outbound listener of the same port, which has no authorization. */
  readonly restoresOriginalDst: boolean;
  readonly direction: "INBOUND" | "OUTBOUND" | "UNSPECIFIED";
  readonly tlsInspector: ListenerFilter | null;
  readonly httpInspector: ListenerFilter | null;
  /** 0 = wait for ever. */
  readonly listenerFiltersTimeoutMs: number;
  readonly continueOnListenerFiltersTimeout: boolean;
  readonly accessLog: readonly AccessLog[];
  readonly filterChains: readonly FilterChain[];
  readonly defaultFilterChain: FilterChain | null;
  /** The sieve of config/filter-chains.ts; null = close the connection (NR filter_chain_not_found). */
  findFilterChain(facts: ConnectionFacts): FilterChain | null;
  /** Content hash: an unchanged listener keeps its socket and connections. */
  readonly hash: string;
}

export interface ListenerFilter {
  /** filter_disabled for a connection to this destination port. */
  disabledFor(destinationPort: number): boolean;
}

export interface FilterChainMatch {
  /** 0 = any. */
  readonly destinationPort: number;
  readonly prefixRanges: readonly CidrRange[];
  readonly serverNames: readonly string[];
  /** "" = any. */
  readonly transportProtocol: string;
  readonly applicationProtocols: readonly string[];
  readonly sourcePrefixRanges: readonly CidrRange[];
  readonly sourcePorts: readonly number[];
}

export interface CidrRange {
  readonly prefix: string;
  readonly length: number;
  contains(address: string): boolean;
}

export interface FilterChain {
  readonly name: string;
  readonly match: FilterChainMatch;
  /** null = raw buffer. */
  readonly tls: DownstreamTls | null;
  readonly transportSocketConnectTimeoutMs: number;
  /** Network filters before the terminal one, in order. */
  readonly networkFilters: readonly NetworkFilter[];
  readonly terminal: HttpConfig | TcpConfig;
  /** Content hash: only chains that changed drain. */
  readonly hash: string;
}

export type NetworkFilter =
  | { readonly kind: "rbac"; readonly name: string; readonly rbac: Rbac }
  | { readonly kind: "noop"; readonly name: string };

export interface TcpConfig {
  readonly kind: "tcp";
  readonly clusters: readonly WeightedCluster[];
  /** 0 = none. Envoy's default is one hour. */
  readonly idleTimeoutMs: number;
  readonly accessLog: readonly AccessLog[];
}

/** HttpConnectionManager. */
export interface HttpConfig {
  readonly kind: "http";
  /** RDS name, or null when `routes` came inline. */
  readonly routeConfigName: string | null;
  /** Never null in a live listener: warming waits for RDS (bounded), after that an empty table answers 404. */
  readonly routes: RouteTable;
  readonly filters: readonly HttpFilter[];
  readonly upgrades: readonly string[];
  readonly streamIdleTimeoutMs: number;
  /** Time for the whole request; 0 = none. */
  readonly requestTimeoutMs: number;
  /** Time for its head; 0 = the codec's own limit. */
  readonly requestHeadersTimeoutMs: number;
  readonly maxStreamDurationMs: number;
  readonly idleTimeoutMs: number;
  readonly maxConnectionDurationMs: number;
  readonly normalizePath: boolean;
  readonly mergeSlashes: boolean;
  readonly pathWithEscapedSlashes:
    | "KEEP_UNCHANGED"
    | "REJECT_REQUEST"
    | "UNESCAPE_AND_REDIRECT"
    | "UNESCAPE_AND_FORWARD";
  readonly useRemoteAddress: boolean;
  readonly xffNumTrustedHops: number;
  readonly generateRequestId: boolean;
  readonly preserveExternalRequestId: boolean;
  readonly serverName: string;
  readonly acceptHttp10: boolean;
  readonly maxRequestHeadersBytes: number;
  readonly forwardClientCertDetails:
    | "SANITIZE"
    | "FORWARD_ONLY"
    | "APPEND_FORWARD"
    | "SANITIZE_SET"
    | "ALWAYS_FORWARD_ONLY";
  readonly setCurrentClientCertDetails: {
    readonly subject: boolean;
    readonly dns: boolean;
    readonly uri: boolean;
    readonly cert: boolean;
    readonly chain: boolean;
  };
  readonly tracing: Tracing | null;
  readonly accessLog: readonly AccessLog[];
}

/** In order; the last is the router. */
export type HttpFilter =
  | { readonly kind: "rbac"; readonly name: string; readonly rbac: Rbac }
  | { readonly kind: "fault"; readonly name: string; readonly fault: FaultPolicy | null }
  | { readonly kind: "cors"; readonly name: string }
  | {
      readonly kind: "alpn";
      readonly name: string;
      readonly overrides: Readonly<Record<"HTTP10" | "HTTP11" | "HTTP2", readonly string[]>>;
    }
  | { readonly kind: "grpc-stats"; readonly name: string }
  | { readonly kind: "router"; readonly name: string }
  | { readonly kind: "noop"; readonly name: string };

/** What both ends of a TLS configuration say. */
interface CommonTls {
  readonly certificateSecrets: readonly string[];
  readonly validation: Validation;
  readonly alpnProtocols: readonly string[];
  readonly minVersion: "TLSv1.2" | "TLSv1.3";
  readonly maxVersion: "TLSv1.2" | "TLSv1.3";
  readonly cipherSuites: readonly string[];
}

export interface DownstreamTls extends CommonTls {
  readonly requireClientCertificate: boolean;
}

export interface UpstreamTls extends CommonTls {
  readonly sni: string;
}

/**
 * Whom to trust: the mesh's roots, those of the workload's own secret; a PEM file or the system's, of a server outside
 * of the mesh; "any" checks nothing (insecureSkipVerify).
 */
export type Roots =
  | { readonly kind: "mesh" | "system" | "any" }
  | { readonly kind: "file"; readonly path: string };

/** How to judge the peer's certificate. */
export interface Validation {
  readonly roots: Roots;
  /** One must match a SAN of the peer; empty = any. */
  readonly subjectAltNames: readonly StringMatcher[];
}

export interface StringMatcher {
  readonly kind: "exact" | "prefix" | "suffix" | "contains" | "regex" | "present";
  readonly text: string;
  matches(value: string): boolean;
}

export type LbPolicy =
  | "ROUND_ROBIN"
  | "LEAST_REQUEST"
  | "RANDOM"
  | "RING_HASH"
  | "MAGLEV"
  | "CLUSTER_PROVIDED";

export interface Cluster {
  readonly name: string;
  readonly type: "STATIC" | "STRICT_DNS" | "LOGICAL_DNS" | "EDS" | "ORIGINAL_DST" | "DYNAMIC_FORWARD_PROXY";
  readonly edsServiceName: string | null;
  readonly lbPolicy: LbPolicy;
  readonly leastRequestChoices: number;
  readonly connectTimeoutMs: number;
  /** Source address of connections to hosts (127.0.0.6 inbound, the pod IP outbound), or null. */
  readonly sourceAddress: string | null;
  readonly protocol: "HTTP1" | "HTTP2" | "DOWNSTREAM";
  readonly idleTimeoutMs: number;
  /** 0 = no limit. */
  readonly maxRequestsPerConnection: number;
  readonly maxConnections: number;
  readonly maxPendingRequests: number;
  readonly maxRequests: number;
  readonly maxRetries: number;
  readonly outlierDetection: OutlierDetection | null;
  /** Percent; 0 = panic mode off. */
  readonly healthyPanicThreshold: number;
  /** transport_socket_matches in order (first match wins), then `transportSocket`. `tls` null = raw. */
  readonly transportSocketMatches: readonly TransportSocketMatch[];
  readonly transportSocket: UpstreamTls | null;
  /** By priority, lowest number first. */
  readonly priorities: readonly (readonly Host[])[];
  /** Weight of hosts is `weight`; draining and unhealthy ones are in the list too: see cluster/balancer.ts. */
  readonly hosts: readonly Host[];
  readonly overprovisioningFactor: number;
  /** metadata istio.alpn_override: "false" turns the alpn filter off for this cluster. */
  readonly alpnOverride: boolean;
  readonly istio: {
    readonly services: readonly {
      readonly host: string;
      readonly name: string;
      readonly namespace: string;
    }[];
    readonly config: string | null;
    readonly subset: string | null;
  };
  readonly metadata: Metadata;
  readonly tcpKeepalive: {
    readonly probes: number;
    readonly timeSeconds: number;
    readonly intervalSeconds: number;
  } | null;
  readonly hash: string;
}

export interface TransportSocketMatch {
  readonly name: string;
  readonly match: Readonly<Record<string, string>>;
  readonly tls: UpstreamTls | null;
}

export interface OutlierDetection {
  /** 0 = off. */
  readonly consecutive5xx: number;
  readonly consecutiveGatewayFailure: number;
  readonly consecutiveLocalOriginFailure: number;
  readonly splitExternalLocalOriginErrors: boolean;
  readonly intervalMs: number;
  readonly baseEjectionTimeMs: number;
  readonly maxEjectionTimeMs: number;
  readonly maxEjectionPercent: number;
}

export type HealthStatus = "HEALTHY" | "UNHEALTHY" | "DRAINING" | "DEGRADED" | "TIMEOUT" | "UNKNOWN";

/**
 * An endpoint. The object is kept while its address stays in the cluster, across EDS and CDS updates, so that
 * counters, ejections and pools (a WeakMap or Map keyed by it) survive; `weight`, `health` ... are set on update.
 */
export interface Host {
  readonly address: string;
  readonly port: number;
  readonly pipe: string | null;
  weight: number;
  priority: number;
  health: HealthStatus;
  locality: string;
  hostname: string;
  transportSocketMetadata: Readonly<Record<string, string>>;
  metadata: Metadata;
  /** Requests (or TCP connections) now open: LEAST_REQUEST reads it, the data path adds and subtracts. */
  activeRequests: number;
  activeConnections: number;
  /** Outlier detection: lb time in ms (monotonic) until which the host gets no traffic; 0 = not ejected. */
  ejectedUntilMs: number;
  consecutive5xx: number;
  consecutiveGatewayFailure: number;
  consecutiveLocalOriginFailure: number;
  timesEjected: number;
  /** No longer in any snapshot: pools close it when idle. */
  removed: boolean;
}

export type Metadata = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

export interface VirtualHost {
  readonly name: string;
  readonly domains: readonly string[];
  readonly routes: readonly Route[];
  readonly retryPolicy: RetryPolicy | null;
  readonly headers: HeaderMutations | null;
  /** x-envoy-attempt-count is set on what goes upstream. */
  readonly includeAttemptCount: boolean;
}

export interface Route {
  readonly name: string;
  readonly match: {
    matches(head: HeadView, path: string, query: string): boolean;
    readonly text: string;
    readonly prefix: string | null;
  };
  readonly action: RouteAction | RedirectAction | DirectResponseAction;
  readonly headers: HeaderMutations | null;
  readonly fault: FaultPolicy | null;
  /** Replaces the rules of HTTP RBAC filters on this route (typed_per_filter_config), or null. */
  readonly rbac: Rbac | null;
  readonly metadata: Metadata;
  /** istio.config and weft.source of the metadata: for explain. */
  readonly config: string | null;
  readonly source: string | null;
  readonly decorator: string | null;
}

export interface WeightedCluster {
  readonly name: string;
  readonly weight: number;
  readonly headers: HeaderMutations | null;
  readonly hostRewrite: string | null;
}

export interface RouteAction {
  readonly kind: "route";
  /** One or more; `pickCluster` of route/action.ts chooses. */
  readonly clusters: readonly WeightedCluster[];
  readonly totalWeight: number;
  /** Name of the header that names the cluster, or null. */
  readonly clusterHeader: string | null;
  readonly clusterNotFoundStatus: number;
  /** 0 = none. Envoy's default of 15 s is already applied. */
  readonly timeoutMs: number;
  readonly maxStreamDurationMs: number | null;
  readonly idleTimeoutMs: number | null;
  readonly retryPolicy: RetryPolicy | null;
  readonly hostRewrite: string | null;
  readonly autoHostRewrite: boolean;
  /** New path (query kept), or null if unchanged. */
  readonly rewritePath: ((path: string) => string) | null;
  readonly upgrades: readonly string[];
  /** CONNECT ends here, and what follows is passed on as bytes (connect_config). */
  readonly endsConnect: boolean;
}

export interface RedirectAction {
  readonly kind: "redirect";
  readonly status: number;
  /** The Location value. `scheme` = of the request as the client sees it. */
  location(scheme: "http" | "https", authority: string, path: string): string;
}

export interface DirectResponseAction {
  readonly kind: "direct-response";
  readonly status: number;
  readonly body: string;
}

export interface RetryPolicy {
  readonly on: RetryOn;
  readonly numRetries: number;
  /** 0 = none. */
  readonly perTryTimeoutMs: number;
  readonly backOffBaseMs: number;
  readonly backOffMaxMs: number;
  readonly avoidPreviousHosts: boolean;
  readonly retriableStatusCodes: readonly number[];
  readonly retriableHeaders: readonly string[];
}

/** retry_on tokens; unknown ones are ignored. */
export interface RetryOn {
  readonly http5xx: boolean;
  readonly gatewayError: boolean;
  readonly reset: boolean;
  readonly resetBeforeRequest: boolean;
  readonly connectFailure: boolean;
  readonly retriable4xx: boolean;
  readonly retriableStatusCodes: boolean;
  readonly retriableHeaders: boolean;
  /** gRPC status numbers: cancelled 1, deadline-exceeded 4, resource-exhausted 8, internal 13, unavailable 14. */
  readonly grpcStatus: readonly number[];
}

export interface HeaderMutations {
  readonly request: readonly HeaderMutation[];
  readonly response: readonly HeaderMutation[];
}

export type HeaderMutation =
  | { readonly kind: "remove"; readonly name: string }
  | {
      readonly kind: "append" | "overwrite" | "add-if-absent" | "overwrite-if-exists";
      readonly name: string;
      readonly value: (lookup: FormatLookup) => string;
      /** Else a value that comes out empty adds and overwrites nothing (keep_empty_value). */
      readonly keepEmpty: boolean;
    };

/** Resolves a %COMMAND(argument)% of a format string; null prints "-" in logs and "" in headers. */
export type FormatLookup = (command: string, argument: string) => string | null;

export interface Tracing {
  /** Percent 0-100 each, as in Envoy. */
  readonly clientSampling: number;
  readonly randomSampling: number;
  readonly overallSampling: number;
  /** Cluster of the OTLP collector, or null: trace context passes through untouched. */
  readonly otlpCluster: string | null;
  /** Absolute; its host is what the collector is called, the cluster says where it is. */
  readonly otlpUrl: string;
  readonly serviceName: string;
  readonly customTags: readonly {
    readonly tag: string;
    readonly literal: string | null;
    readonly requestHeader: string | null;
    readonly environment: string | null;
    readonly defaultValue: string;
  }[];
}

export interface AccessLog {
  readonly kind: "file" | "stdout" | "stderr" | "ignored";
  readonly path: string;
  /** Text format; null with `json` set, both null = Envoy's default format. */
  readonly text: string | null;
  readonly json: unknown | null;
  /** Log only when a response flag of this list is set (response_flag_filter; istiod's listener logs use NR); null = always. */
  readonly onlyFlags: readonly string[] | null;
}
