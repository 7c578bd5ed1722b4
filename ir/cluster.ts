import type { ClusterRef } from "./route.ts";
import type { SourceRef } from "./source.ts";

/** What an application port speaks. `auto` = nobody said; the proxy sniffs. */
export type Protocol = "http" | "http2" | "grpc" | "tcp" | "tls" | "auto";

export type LoadBalancerIr =
  | { readonly kind: "least-request" | "round-robin" | "random" | "passthrough" }
  | {
      readonly kind: "hash";
      readonly on:
        | { readonly kind: "header"; readonly name: string }
        | { readonly kind: "query"; readonly name: string }
        | { readonly kind: "source-ip" }
        | {
            readonly kind: "cookie";
            readonly name: string;
            readonly path: string | null;
            readonly ttlMs: number | null;
          };
      readonly minimumRingSize: number;
    };

/** TLS towards the endpoints. */
export type UpstreamTlsIr =
  /** mTLS with endpoints that carry tlsMode=istio, plaintext with the others. */
  | { readonly kind: "auto"; readonly sans: readonly string[]; readonly sni: string }
  | { readonly kind: "mutual"; readonly sans: readonly string[]; readonly sni: string }
  | { readonly kind: "plain" }
  /** One-sided TLS; ca null = the system's roots; sni null = from the Host header. */
  | {
      readonly kind: "simple";
      readonly sni: string | null;
      readonly sans: readonly string[];
      readonly caFile: string | null;
      readonly insecureSkipVerify: boolean;
    };

export interface ConnectionPoolIr {
  readonly maxConnections: number | null;
  readonly connectTimeoutMs: number | null;
  readonly tcpIdleTimeoutMs: number | null;
  readonly maxConnectionDurationMs: number | null;
  readonly keepalive: {
    readonly probes: number | null;
    readonly timeMs: number | null;
    readonly intervalMs: number | null;
  } | null;
  readonly maxPendingRequests: number | null;
  readonly maxRequests: number | null;
  readonly maxRequestsPerConnection: number | null;
  readonly maxRetries: number | null;
  readonly httpIdleTimeoutMs: number | null;
  readonly maxConcurrentStreams: number | null;
  readonly upgradeToHttp2: boolean;
}

export interface OutlierIr {
  /** null = Envoy's default; 0 = off. */
  readonly consecutive5xx: number | null;
  readonly consecutiveGatewayErrors: number | null;
  readonly splitLocalOriginErrors: boolean;
  readonly consecutiveLocalOriginFailures: number | null;
  readonly intervalMs: number | null;
  readonly baseEjectionMs: number | null;
  readonly maxEjectionPercent: number | null;
  readonly minHealthPercent: number;
}

export type EndpointSourceIr =
  /** Endpoints by EDS under the cluster's own name: those of the service that carry all `labels`. */
  | { readonly kind: "eds"; readonly labels: Readonly<Record<string, string>> }
  | { readonly kind: "static" | "dns" | "dns-round-robin"; readonly endpoints: readonly EndpointIr[] }
  /** The address that was dialled (headless, ServiceEntry resolution NONE). */
  | { readonly kind: "original-destination" };

export interface EndpointIr {
  /** IP literal, or a host name for `dns` sources. */
  readonly address: string;
  readonly port: number;
  readonly weight: number;
  /** true = a proxy listens there that speaks mTLS (label security.istio.io/tlsMode: istio). */
  readonly meshTls: boolean;
  readonly ready: boolean;
  readonly labels: Readonly<Record<string, string>>;
  /** "<workload>;<namespace>;<canonical name>;<canonical revision>;<cluster id>" parts; null outside the mesh. */
  readonly workload: {
    readonly name: string;
    readonly namespace: string;
    readonly canonicalName: string;
    readonly canonicalRevision: string;
    readonly identity: string;
  } | null;
}

export interface ClusterIr extends ClusterRef {
  /** The service behind it, for telemetry; its host where the cluster's own is that of one pod. */
  readonly service: { readonly name: string; readonly namespace: string; readonly host?: string };
  readonly protocol: Protocol;
  readonly endpoints: EndpointSourceIr;
  readonly lb: LoadBalancerIr;
  readonly tls: UpstreamTlsIr;
  readonly pool: ConnectionPoolIr | null;
  readonly outlier: OutlierIr | null;
  /** outside the mesh: telemetry says so, no auto mTLS. */
  readonly external: boolean;
  /** Its endpoints are pods of the mesh: the service selects them. */
  readonly selectsPods: boolean;
  /** The DestinationRule that shaped it, or null. */
  readonly source: SourceRef | null;
}
