import type { RouteMatchIr, StringMatchIr } from "./match.ts";
import type { SourceRef } from "./source.ts";

/** Names a cluster of this workload: host, service port and subset ("" = all endpoints). */
export interface ClusterRef {
  readonly host: string;
  readonly port: number;
  readonly subset: string;
}

export interface HeaderChangeIr {
  /** Replaces all values of the header. */
  readonly set: readonly (readonly [name: string, value: string])[];
  readonly add: readonly (readonly [name: string, value: string])[];
  readonly remove: readonly string[];
}

export interface WeightedClusterIr {
  readonly cluster: ClusterRef;
  /** Share = weight / sum. A single destination takes all. Never 0 in the IR. */
  readonly weight: number;
  readonly requestHeaders: HeaderChangeIr | null;
  readonly responseHeaders: HeaderChangeIr | null;
}

export type PathRewriteIr =
  /** The matched prefix is replaced; for an exact match or regex the whole path. */
  | { readonly kind: "prefix"; readonly value: string }
  /** The Gateway API's ReplacePrefixMatch: the matched segments (of no path match: none) become these; "" = none. */
  | { readonly kind: "segments"; readonly value: string }
  | { readonly kind: "full"; readonly value: string }
  | { readonly kind: "regex"; readonly pattern: string; readonly substitution: string };

export interface RetryIr {
  /** Retries after the first try. */
  readonly attempts: number;
  readonly perTryTimeoutMs: number | null;
  /** Envoy retry_on tokens, without bare status codes. */
  readonly on: readonly string[];
  readonly statusCodes: readonly number[];
  readonly backoffBaseMs: number | null;
  /** Do not try a host twice. */
  readonly avoidPreviousHosts: boolean;
  readonly otherLocalities: boolean;
}

export interface FaultIr {
  /** percent: 0..100. */
  readonly delay: { readonly ms: number; readonly percent: number } | null;
  readonly abort:
    | { readonly kind: "http"; readonly status: number; readonly percent: number }
    | { readonly kind: "grpc"; readonly status: number; readonly percent: number }
    | null;
}

export interface MirrorIr {
  readonly cluster: ClusterRef;
  /** 0..100. */
  readonly percent: number;
}

export interface CorsIr {
  readonly allowOrigins: readonly StringMatchIr[];
  readonly allowMethods: readonly string[];
  readonly allowHeaders: readonly string[];
  readonly exposeHeaders: readonly string[];
  readonly maxAgeSeconds: number | null;
  readonly allowCredentials: boolean | null;
  readonly forwardUnmatchedPreflights: boolean | null;
}

export type RouteActionIr =
  | {
      readonly kind: "forward";
      /** At least one; an action without any live destination is `respond` 500/503 instead. */
      readonly destinations: readonly WeightedClusterIr[];
      readonly rewritePath: PathRewriteIr | null;
      readonly rewriteHost: string | null;
      /** 0 = none. */
      readonly timeoutMs: number;
      readonly retry: RetryIr | null;
      readonly mirrors: readonly MirrorIr[];
      /** What a destination that does not exist answers. Absent: 503. */
      readonly missingStatus?: 500;
    }
  | {
      readonly kind: "redirect";
      readonly path: PathRewriteIr | null;
      readonly host: string | null;
      /** null = the Host header's own stays. The scheme's well-known port is not shown. */
      readonly port: number | null;
      readonly scheme: string | null;
      readonly status: number;
    }
  | { readonly kind: "respond"; readonly status: number; readonly body: string }
  /** To the address that was dialled (outbound mode ALLOW_ANY, unknown host). */
  | { readonly kind: "passthrough" };

export interface RouteIr {
  /** "" if the user gave none. */
  readonly name: string;
  readonly match: RouteMatchIr;
  readonly action: RouteActionIr;
  readonly requestHeaders: HeaderChangeIr | null;
  readonly responseHeaders: HeaderChangeIr | null;
  readonly fault: FaultIr | null;
  readonly cors: CorsIr | null;
  /** null for the default route of a service without policies. */
  readonly source: SourceRef | null;
}

export interface VirtualHostIr {
  /** `host:port`, unique inside its route table. */
  readonly name: string;
  /** Host header values, without ports; exact, `*.suffix` or `*`. Unique over the whole table: the first host wins. */
  readonly domains: readonly string[];
  /** First match wins. No match at all = 404. */
  readonly routes: readonly RouteIr[];
}

/** The route table of an outbound HTTP port (`name` = "9080") or of one sniffed service (`name` = "host:port"). */
export interface RouteTableIr {
  readonly name: string;
  readonly port: number;
  readonly virtualHosts: readonly VirtualHostIr[];
}
