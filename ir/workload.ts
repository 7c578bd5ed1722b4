import type { AuthorizationIr } from "./authz.ts";
import type { ClusterIr, Protocol } from "./cluster.ts";
import type { ClusterRef, RouteTableIr, VirtualHostIr, WeightedClusterIr } from "./route.ts";
import type { SourceRef } from "./source.ts";

export type MtlsMode = "STRICT" | "PERMISSIVE" | "DISABLE";

export type InterceptionIr =
  /** iptables REDIRECT to 15001/15006. */
  | { readonly kind: "transparent" }
  /** Real listeners: inbound on the pod's address, outbound on `<servicePrefix>.C.D:port`; the app is at appAddress. */
  | { readonly kind: "explicit"; readonly appAddress: string; readonly servicePrefix: string };

export interface IdentityIr {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** spiffe://<td>/ns/<ns>/sa/<sa> */
  readonly spiffeId: string;
}

export interface InboundPortIr {
  /** The port on which the application listens (target port). */
  readonly port: number;
  /** The service port that leads here; null for a container port without service. */
  readonly servicePort: number | null;
  readonly host: string | null;
  readonly service: { readonly name: string; readonly namespace: string } | null;
  readonly protocol: Protocol;
  readonly mtls: MtlsMode;
}

/** TLS that stays closed, routed by server name. */
export interface TlsRouteIr {
  readonly sniHosts: readonly string[];
  readonly destinations: readonly WeightedClusterIr[];
  readonly source: SourceRef;
}

/** A service port that is not routed by Host header through a shared port table: raw TCP, TLS, or sniffed. */
export interface TcpServiceIr {
  readonly host: string;
  readonly port: number;
  /** Virtual addresses (IP or CIDR); empty = only by port (wildcard listener with SNI) or headless. */
  readonly addresses: readonly string[];
  /** Without an address it does not take what is dialled at its port: only its names lead to it, in explicit mode. */
  readonly byNameOnly?: boolean;
  readonly protocol: "tcp" | "tls" | "auto";
  /** What its callers may call it by, ports not written. */
  readonly domains: readonly string[];
  /** For TLS without address: the SNI names that lead here. */
  readonly sniHosts: readonly string[];
  /** Of TLS ports, before `sniHosts`: the first that names the server wins. */
  readonly tlsRoutes: readonly TlsRouteIr[];
  /** Where the bytes go when they are not HTTP. */
  readonly destinations: readonly WeightedClusterIr[];
  /** For `auto`: the table (named host:port) for what turns out to be HTTP. null otherwise. */
  readonly http: RouteTableIr | null;
  readonly source: SourceRef | null;
}

/** An outbound HTTP service port: which addresses dial it. Its virtual host is in the table of its port. */
export interface HttpServiceIr extends ClusterRef {
  readonly addresses: readonly string[];
}

export interface GatewayListenerIr {
  /** Port on which the gateway's proxy listens. */
  readonly port: number;
  readonly protocol: "http" | "https" | "tcp" | "tls";
  readonly name: string;
  /** Names of the table: "http.<port>". */
  readonly virtualHosts: readonly VirtualHostIr[];
  readonly tls: GatewayTlsIr | null;
  readonly source: SourceRef;
}

export type GatewayTlsIr =
  | {
      readonly kind: "terminate";
      readonly credential: string;
      readonly hosts: readonly string[];
      readonly mutual: boolean;
    }
  | { readonly kind: "mesh"; readonly hosts: readonly string[] };

/** Everything the policies mean for one proxy. Pure data: equal content = equal configuration. */
export interface WorkloadIr {
  readonly kind: "sidecar" | "gateway";
  readonly name: string;
  readonly namespace: string;
  readonly ip: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly identity: IdentityIr;
  readonly interception: InterceptionIr;
  readonly inbound: readonly InboundPortIr[];
  /** For ports that are not in `inbound` (catch-all chain). */
  readonly defaultMtls: MtlsMode;
  readonly authorization: AuthorizationIr;
  /** One table per outbound HTTP port, ascending; without the trailing allow_any/block_all host (see outboundMode). */
  readonly outboundHttp: readonly RouteTableIr[];
  readonly httpServices: readonly HttpServiceIr[];
  readonly tcpServices: readonly TcpServiceIr[];
  readonly clusters: readonly ClusterIr[];
  readonly gatewayListeners: readonly GatewayListenerIr[];
  readonly outboundMode: "ALLOW_ANY" | "REGISTRY_ONLY";
}
