import { isIPv4 } from "node:net";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type {
  HeaderChangeIr,
  PathRewriteIr,
  RouteIr,
  RouteMatchIr,
  RouteTableIr,
  SourceRef,
  StringMatchIr,
  VirtualHostIr,
  WeightedClusterIr,
  WorkloadIr,
} from "#ir/index.ts";
import { Memo } from "#lib/memo.ts";
import { RouteSchema, VirtualHostSchema } from "#xds/gen/envoy/config/route/v3/route_components_pb.js";
import { RouteConfigurationSchema } from "#xds/gen/envoy/config/route/v3/route_pb.js";
import { CorsPolicySchema } from "#xds/gen/envoy/extensions/filters/http/cors/v3/cors_pb.js";
import { HTTPFaultSchema } from "#xds/gen/envoy/extensions/filters/http/fault/v3/fault_pb.js";
import { PreviousHostsPredicateSchema } from "#xds/gen/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts_pb.js";
import { PreviousPrioritiesConfigSchema } from "#xds/gen/envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config_pb.js";
import { TYPE } from "#xds/index.ts";
import { connectRoute, connectTargets, OUTSIDE } from "./connect.ts";
import { clusterName, explicitAddress, sourceMetadata } from "./context.ts";
import {
  any,
  compact,
  duration,
  encode,
  extension,
  type Json,
  type Resource,
  repeated,
  resourceOf,
} from "./resource.ts";
import { fails, type Unwritten, type Writing } from "./unwritten.ts";

/** All route tables of a proxy: per outbound port, per sniffed service, the HTTP proxy's and a gateway's. */
export function writeRoutes(ir: WorkloadIr, writing: Writing): void {
  const mode = ir.outboundMode;
  const prefix = ir.interception.kind === "explicit" ? ir.interception.servicePrefix : "";
  const add = (name: string, hosts: readonly VirtualHostIr[], make: () => Table): void => {
    const sources = () => hosts.flatMap(({ routes }) => sourcesOf(routes));
    writing.add(TYPE.route, name, sources, () => {
      const { resource, broken } = make();
      writing.unwritten.push(...broken);
      return resource;
    });
  };
  const seen = (hosts: readonly VirtualHostIr[]) => hosts.map((h) => asSeen(h, prefix));
  for (const t of ir.outboundHttp)
    add(t.name, t.virtualHosts, () =>
      shared.get(t, `${mode} ${prefix}`, () => table(t.name, seen(t.virtualHosts), fallback(mode))),
    );
  for (const { http } of ir.tcpServices)
    if (http !== null)
      add(http.name, http.virtualHosts, () =>
        shared.get(http, prefix, () => table(http.name, seen(http.virtualHosts), null)),
      );
  for (const [name, hosts] of gatewayTables(ir)) add(name, hosts, () => table(name, hosts, null));
  if (ir.interception.kind === "explicit" && ir.kind === "sidecar")
    add("http_proxy", [], () => shared.get(ir.outboundHttp, mode, () => proxyTable(ir)));
}

interface Table {
  readonly resource: Resource;
  /** Its virtual hosts that could not be written. */
  readonly broken: readonly Unwritten[];
}

function sourcesOf(routes: readonly RouteIr[]): SourceRef[] {
  return routes.flatMap(({ source }) => (source === null ? [] : [source]));
}

/** In explicit mode a client that dials `API_SERVICE_HOST` names the Service by the address that its pod has for it. */
function asSeen(h: VirtualHostIr, prefix: string): VirtualHostIr {
  const addresses = prefix === "" ? [] : h.domains.filter((d) => isIPv4(d));
  if (addresses.length === 0) return h;
  return { ...h, domains: [...h.domains, ...addresses.map((d) => explicitAddress(prefix, d))] };
}

/** Of all proxies that share the table of the IR. */
const shared = new Memo<Table>();

function gatewayTables(ir: WorkloadIr): Map<string, VirtualHostIr[]> {
  const tables = new Map<string, VirtualHostIr[]>();
  for (const listener of ir.gatewayListeners) {
    if (listener.protocol !== "http" && listener.protocol !== "https") continue;
    const name = gatewayTableName(listener.protocol, listener.port, listener.name);
    tables.set(name, [...(tables.get(name) ?? []), ...listener.virtualHosts]);
  }
  return tables;
}

/** Plain HTTP servers of one port share a table; each TLS server has its own. */
export function gatewayTableName(protocol: "http" | "https", port: number, server: string): string {
  return protocol === "http" ? `http.${port}` : `https.${port}.${server}`;
}

function table(
  name: string,
  hosts: readonly VirtualHostIr[],
  last: Json | null,
  ignorePorts = true,
  targets: ReadonlyMap<string, string> | null = null,
): Table {
  const broken: Unwritten[] = [];
  const seen = new Set<string>();
  const written = hosts.flatMap((h) => {
    const domains = h.domains.filter((d) => {
      const isNew = !seen.has(d.toLowerCase());
      seen.add(d.toLowerCase());
      return isNew;
    });
    if (domains.length === 0) return [];
    const target = targets?.get(h.name) ?? null;
    try {
      return [hostBytes(h, domains, target)];
    } catch (error) {
      const blamed = h.routes.filter((r) => fails(() => encode(RouteSchema, route(r))));
      const sources = sourcesOf(blamed.length > 0 ? blamed : h.routes);
      broken.push({ typeUrl: TYPE.route, name, reason: (error as Error).message, sources, host: h.name });
      return [encode(VirtualHostSchema, unavailable(h.name, domains, target))];
    }
  });
  if (last !== null && !seen.has("*")) written.push(encode(VirtualHostSchema, last));
  const rest = encode(RouteConfigurationSchema, {
    name,
    validate_clusters: false,
    ignore_port_in_host_matching: ignorePorts,
    max_direct_response_body_size_bytes: 1_048_576,
  });
  const bytes = Buffer.concat([rest, repeated(VIRTUAL_HOSTS, written)]);
  return { resource: resourceOf(RouteConfigurationSchema, name, bytes), broken };
}

/** What leads nowhere known is not to fall through to where another host, or the address dialled, would lead. */
function unavailable(name: string, domains: readonly string[], target: string | null): Json {
  return {
    name,
    domains: [...domains],
    routes: [
      ...(target === null ? [] : [connectRoute(target)]),
      { name: "unwritten", match: { prefix: "/" }, direct_response: { status: 503 } },
    ],
  };
}

/** The table with the routes that its virtual host `name` has in `former`; as it is where that has no such host. */
export function withFormerHost(bytes: Uint8Array, former: Uint8Array, name: string): Resource | null {
  const table = fromBinary(RouteConfigurationSchema, bytes);
  const host = table.virtualHosts.find((h) => h.name === name);
  const before = fromBinary(RouteConfigurationSchema, former).virtualHosts.find((h) => h.name === name);
  if (host === undefined || before === undefined) return null;
  if (before.routes.some((r) => r.name === "unwritten")) return null;
  host.routes = before.routes;
  return resourceOf(RouteConfigurationSchema, table.name, toBinary(RouteConfigurationSchema, table));
}

/** RouteConfiguration.virtual_hosts. A change of one host serializes one host: the others are copied. */
const VIRTUAL_HOSTS = 2;
const hostsBytes = new Memo<Uint8Array>();
function hostBytes(h: VirtualHostIr, domains: readonly string[], target: string | null): Uint8Array {
  const key = `${domains.length === h.domains.length ? "" : domains.join()}${target ?? ""}`;
  return hostsBytes.get(h, key, () => encode(VirtualHostSchema, virtualHost(h, domains, target)));
}

/** The explicit HTTP proxy sees every port at once, so here the port belongs to the domain. */
function proxyTable(ir: WorkloadIr): Table {
  const targets = connectTargets(ir);
  const declared = ir.outboundHttp.flatMap((t: RouteTableIr) =>
    t.virtualHosts.map((h) => proxied(h, h.domains, t.port)),
  );
  // A request to the proxy is HTTP by its form: the port needs no name for that.
  const undeclared = ir.tcpServices.flatMap(({ http, domains }) =>
    (http?.virtualHosts ?? []).map((h) => proxied(h, domains, http!.port)),
  );
  // Of these there are only bytes: they can be reached through a tunnel alone.
  const tunnelled = ir.tcpServices.flatMap(({ http, host, port, domains }) =>
    http !== null ? [] : [{ name: `${host}:${port}`, domains: withPort(domains, port), routes: [] }],
  );
  const hosts = [...declared, ...undeclared, ...tunnelled];
  return table("http_proxy", hosts, fallback(ir.outboundMode, true), false, targets);
}

/** The same object for the same host, so that its bytes are found again. */
const proxiedHosts = new Memo<VirtualHostIr>();
function proxied(h: VirtualHostIr, domains: readonly string[], port: number): VirtualHostIr {
  return proxiedHosts.get(h, `${port} ${domains.join()}`, () => ({ ...h, domains: withPort(domains, port) }));
}

function withPort(domains: readonly string[], port: number): string[] {
  return domains
    .filter((d) => d !== "*")
    .flatMap((d) => (port === 80 ? [d, `${d}:${port}`] : [`${d}:${port}`]));
}

/** @param proxy of the HTTP proxy, which has no address that was dialled: it resolves names */
function fallback(mode: WorkloadIr["outboundMode"], proxy = false): Json {
  const allow = mode === "ALLOW_ANY";
  return {
    name: allow ? "allow_any" : "block_all",
    domains: ["*"],
    include_request_attempt_count: true,
    routes: [
      ...(proxy ? [connectRoute(allow ? OUTSIDE : null)] : []),
      {
        name: allow ? "allow_any" : "block_all",
        match: { prefix: "/" },
        ...(allow
          ? { route: { cluster: proxy ? OUTSIDE : "PassthroughCluster", timeout: "0s" } }
          : { direct_response: { status: 502 } }),
      },
    ],
  };
}

/** @param target the cluster of CONNECT, or null where there is no such thing */
function virtualHost(h: VirtualHostIr, domains: readonly string[], target: string | null): Json {
  return {
    name: h.name,
    domains: [...domains],
    routes: [
      ...(target === null ? [] : [connectRoute(target)]),
      ...h.routes.flatMap((r) => writtenAs(r, domains)).map(route),
    ],
    include_request_attempt_count: true,
  };
}

const WELL_KNOWN: Readonly<Record<string, number>> = { http: 80, https: 443 };
const WITHOUT_PORT = "[^:]+|\\[[^\\]]+\\]";

/**
 * A redirect to the well-known port of its scheme shows none. Envoy would keep the port of the Host header, or show the
 * one that it is given: where the host is certain, it is named; else a Host without a port has a route of its own.
 */
function writtenAs(r: RouteIr, domains: readonly string[]): RouteIr[] {
  const a = r.action;
  if (a.kind !== "redirect" || a.port === null || a.port !== WELL_KNOWN[a.scheme ?? "http"]) return [r];
  const [domain] = domains;
  const certain = domains.length === 1 && !domain!.includes("*") ? domain!.replace(/:\d+$/, "") : null;
  const host = a.host ?? certain;
  if (host !== null) return [{ ...r, action: { ...a, host, port: null } }];
  const bare = {
    name: ":authority",
    match: { kind: "regex" as const, value: WITHOUT_PORT },
    invert: false,
    ignoreCase: false,
  };
  const match = { ...r.match, headers: [...r.match.headers, bare] };
  return [{ ...r, match, action: { ...a, port: null } }, r];
}

function route(r: RouteIr): Json {
  const perFilter: Json = {
    ...(r.fault === null ? {} : { "envoy.filters.http.fault": any(HTTPFaultSchema, fault(r.fault)) }),
    ...(r.cors === null ? {} : { "envoy.filters.http.cors": any(CorsPolicySchema, cors(r.cors)) }),
  };
  return compact({
    name: r.name === "" ? "default" : r.name,
    match: match(r.match),
    ...action(r),
    ...headers(r.requestHeaders, r.responseHeaders),
    typed_per_filter_config: Object.keys(perFilter).length === 0 ? null : perFilter,
    metadata: sourceMetadata(r.source),
    decorator: r.action.kind === "forward" ? { operation: operation(r, r.action.destinations) } : null,
  });
}

/** The name of a span, as istiod builds it: one destination by its host, several by the policy that splits. */
function operation(r: RouteIr, destinations: readonly WeightedClusterIr[]): string {
  const { path } = r.match;
  const suffix =
    path === null
      ? "/*"
      : path.kind === "exact" || path.kind === "regex"
        ? path.value
        : `${path.value}${path.kind === "prefix" ? "" : "/"}*`;
  const { host, port } = destinations[0]!.cluster;
  return `${destinations.length === 1 || r.source === null ? host : r.source.name}:${port}${suffix}`;
}

function match(m: RouteMatchIr): Json {
  return compact({
    ...path(m),
    case_sensitive: m.ignorePathCase ? false : null,
    headers: m.headers.map((h) =>
      compact({
        name: h.name,
        ...(h.match.kind === "present"
          ? { present_match: true }
          : { string_match: { ...string(h.match), ...(h.ignoreCase ? { ignore_case: true } : {}) } }),
        invert_match: h.invert ? true : null,
        treat_missing_header_as_empty: h.invert && h.match.kind !== "present" ? true : null,
      }),
    ),
    query_parameters: m.query.map((q) => ({
      name: q.name,
      ...(q.match.kind === "present" ? { present_match: true } : { string_match: string(q.match) }),
    })),
  });
}

function path(m: RouteMatchIr): Json {
  if (m.path === null) return { prefix: "/" };
  const { kind, value } = m.path;
  if (kind === "exact") return { path: value };
  if (kind === "prefix") return { prefix: value };
  if (kind === "regex") return { safe_regex: { regex: value } };
  return value === "" || value === "/" ? { prefix: "/" } : { path_separated_prefix: value };
}

/** envoy.type.matcher.v3.StringMatcher; a present match becomes "anything". */
function string(m: StringMatchIr): Json {
  if (m.kind === "present") return { safe_regex: { regex: ".*" } };
  if (m.kind === "regex") return { safe_regex: { regex: m.value } };
  return { [m.kind]: m.value };
}

function action(r: RouteIr): Json {
  const a = r.action;
  switch (a.kind) {
    case "passthrough":
      return { route: { cluster: "PassthroughCluster", timeout: "0s" } };
    case "respond":
      return {
        direct_response: { status: a.status, ...(a.body === "" ? {} : { body: { inline_string: a.body } }) },
      };
    case "redirect":
      return {
        redirect: compact({
          ...(a.path === null
            ? {}
            : a.path.kind === "regex" || a.path.kind === "segments"
              ? rewrite(a.path, r.match)
              : a.path.kind === "prefix"
                ? { prefix_rewrite: a.path.value }
                : { path_redirect: a.path.value }),
          host_redirect: a.host,
          port_redirect: a.port,
          scheme_redirect: a.scheme,
          response_code: redirectCode(a.status),
        }),
      };
    case "forward": {
      const first = a.destinations[0] as WeightedClusterIr;
      const single =
        a.destinations.length === 1 && first.requestHeaders === null && first.responseHeaders === null;
      return {
        route: compact({
          ...(single
            ? { cluster: clusterName(first.cluster) }
            : { weighted_clusters: { clusters: a.destinations.map(weighted) } }),
          cluster_not_found_response_code: a.missingStatus === 500 ? "INTERNAL_SERVER_ERROR" : null,
          timeout: duration(a.timeoutMs),
          // gRPC callers state their own deadline; without this Envoy would not hear it.
          max_stream_duration: a.timeoutMs === 0 ? { grpc_timeout_header_max: "0s" } : null,
          ...(a.rewritePath === null ? {} : rewrite(a.rewritePath, r.match)),
          host_rewrite_literal: a.rewriteHost ?? authorityOf(r.requestHeaders),
          retry_policy: a.retry === null ? null : retry(a.retry),
          request_mirror_policies: a.mirrors.map((m) => ({
            cluster: clusterName(m.cluster),
            runtime_fraction: { default_value: percent(m.percent) },
          })),
        }),
      };
    }
  }
}

function redirectCode(status: number): string {
  const names: Record<number, string> = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
  };
  const name = names[status];
  if (name === undefined)
    throw new Error(`a redirect cannot answer ${status}: use 301, 302, 303, 307 or 308`);
  return name;
}

function weighted(d: WeightedClusterIr): Json {
  return compact({
    name: clusterName(d.cluster),
    weight: d.weight,
    host_rewrite_literal: authorityOf(d.requestHeaders),
    ...headers(d.requestHeaders, d.responseHeaders),
  });
}

function rewrite(p: PathRewriteIr, m: RouteMatchIr): Json {
  if (p.kind === "regex")
    return { regex_rewrite: { pattern: { regex: p.pattern }, substitution: p.substitution } };
  if (p.kind === "full" || m.path?.kind === "regex") {
    return {
      regex_rewrite: { pattern: { regex: "^[^?]*" }, substitution: p.value.replaceAll("\\", "\\\\") },
    };
  }
  return p.kind === "segments" ? segments(p.value, m) : { prefix_rewrite: p.value };
}

/** HTTPPathModifier.replacePrefixMatch: "/foo" -> "/xyz" makes "/xyz/bar" of "/foo/bar", "" makes "/bar", "/" of "/foo". */
function segments(to: string, m: RouteMatchIr): Json {
  const from = m.path?.kind === "segments" ? m.path.value : "";
  if (from === "") return to === "" ? {} : { prefix_rewrite: `${to}/` }; // instead of the match's "/"
  if (to !== "") return { prefix_rewrite: to };
  const escaped = from.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return { regex_rewrite: { pattern: { regex: `^${escaped}/?` }, substitution: "/" } };
}

function retry(p: NonNullable<Extract<RouteIr["action"], { kind: "forward" }>["retry"]>): Json {
  const on = p.statusCodes.length > 0 ? [...p.on, "retriable-status-codes"] : [...p.on];
  return compact({
    retry_on: [...new Set(on)].join(","),
    num_retries: p.attempts,
    per_try_timeout: p.perTryTimeoutMs === null ? null : duration(p.perTryTimeoutMs),
    retriable_status_codes: [...p.statusCodes],
    retry_host_predicate: p.avoidPreviousHosts
      ? [extension("envoy.retry_host_predicates.previous_hosts", PreviousHostsPredicateSchema)]
      : null,
    host_selection_retry_max_attempts: p.avoidPreviousHosts ? "5" : null,
    retry_priority: p.otherLocalities
      ? extension("envoy.retry_priorities.previous_priorities", PreviousPrioritiesConfigSchema, {
          update_frequency: 2,
        })
      : null,
    retry_back_off: p.backoffBaseMs === null ? null : { base_interval: duration(p.backoffBaseMs) },
  });
}

function percent(value: number): Json {
  return { numerator: Math.round(value * 10_000), denominator: "MILLION" };
}

function fault(f: NonNullable<RouteIr["fault"]>): Json {
  return {
    ...(f.delay === null
      ? {}
      : { delay: { fixed_delay: duration(f.delay.ms), percentage: percent(f.delay.percent) } }),
    ...(f.abort === null
      ? {}
      : {
          abort: {
            ...(f.abort.kind === "http" ? { http_status: f.abort.status } : { grpc_status: f.abort.status }),
            percentage: percent(f.abort.percent),
          },
        }),
  };
}

function cors(c: NonNullable<RouteIr["cors"]>): Json {
  const list = (v: readonly string[]) => (v.length === 0 ? null : v.join(","));
  return compact({
    allow_origin_string_match: c.allowOrigins.map(string),
    allow_methods: list(c.allowMethods),
    allow_headers: list(c.allowHeaders),
    expose_headers: list(c.exposeHeaders),
    max_age: c.maxAgeSeconds === null ? null : String(c.maxAgeSeconds),
    allow_credentials: c.allowCredentials,
    forward_not_matching_preflights: c.forwardUnmatchedPreflights,
    filter_enabled: { default_value: { numerator: 100 } },
  });
}

const isAuthority = (name: string): boolean => ["host", ":authority"].includes(name.toLowerCase());

/** Envoy takes Host for the authority, which is rewritten, not mutated: `headers.request.set: {Host: x}` as istiod writes it. */
function authorityOf(change: HeaderChangeIr | null): string | null {
  if (change === null) return null;
  const found = change.set.find(([key]) => isAuthority(key)) ?? change.add.find(([key]) => isAuthority(key));
  return found?.[1] ?? null;
}

function headers(request: HeaderChangeIr | null, response: HeaderChangeIr | null): Json {
  const adds = (h: HeaderChangeIr): Json[] => [
    ...h.set
      .filter(([key]) => !isAuthority(key))
      .map(([key, value]) => ({ header: { key, value }, append_action: "OVERWRITE_IF_EXISTS_OR_ADD" })),
    ...h.add
      .filter(([key]) => !isAuthority(key))
      .map(([key, value]) => ({ header: { key, value }, append_action: "APPEND_IF_EXISTS_OR_ADD" })),
  ];
  return {
    ...(request === null
      ? {}
      : {
          request_headers_to_add: adds(request),
          request_headers_to_remove: request.remove.filter((n) => !isAuthority(n)),
        }),
    ...(response === null
      ? {}
      : { response_headers_to_add: adds(response), response_headers_to_remove: [...response.remove] }),
  };
}
