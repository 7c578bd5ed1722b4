import type { HeaderMatchIr, RouteMatchIr, StringMatchIr } from "#ir/match.ts";
import type { HeaderChangeIr, RetryIr, RouteActionIr, RouteIr, WeightedClusterIr } from "#ir/route.ts";
import { Memo } from "#lib/memo.ts";
import { findService, fullHost, hostMatches } from "../host.ts";
import type { Loaded } from "../load.ts";
import { isExported, objectsOf, type PolicyWorld, selects } from "../world.ts";
import { rulesOf } from "./delegate.ts";
import type {
  DestinationSpec,
  HeadersSpec,
  HttpMatchSpec,
  HttpRouteSpec,
  L4MatchSpec,
  StringMatchSpec,
} from "./spec.ts";

export type VirtualService = Loaded<"networking.istio.io/VirtualService">;

/** Who asks: the port being addressed, the gateways of the listener ("mesh" for sidecars), the client. */
export interface RouteContext {
  readonly port: number;
  readonly gateway: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

// Envoy's safe set: nothing here repeats a request that an application may have seen (Istio retry.go).
const SAFE = ["connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"];
export const DEFAULT_RETRY: RetryIr = {
  attempts: 2,
  perTryTimeoutMs: null,
  on: SAFE,
  statusCodes: [],
  backoffBaseMs: null,
  avoidPreviousHosts: true,
  otherLocalities: false,
};
export const ANY_MATCH: RouteMatchIr = { path: null, ignorePathCase: false, headers: [], query: [] };

/** "ns/name" of the gateways that a VirtualService binds; "mesh" stays. */
export function gatewayNames(names: readonly string[] | undefined, namespace: string): string[] {
  return (names ?? ["mesh"]).map((n) => (n === "mesh" || n.includes("/") ? n : `${namespace}/${n}`));
}

interface MeshIndex {
  readonly exact: ReadonlyMap<string, readonly VirtualService[]>;
  /** The narrowest pattern first, then the oldest. */
  readonly wild: readonly { readonly host: string; readonly vs: VirtualService }[];
}
const indices = new Memo<MeshIndex>();
function meshIndex(world: PolicyWorld): MeshIndex {
  return indices.get(world.objects, world.mesh.clusterDomain, () => {
    const all = objectsOf(world, "networking.istio.io/VirtualService")
      .filter((vs) => gatewayNames(vs.spec.gateways, vs.namespace).includes("mesh"))
      .flatMap((vs) => (vs.spec.hosts ?? []).map((h) => ({ vs, host: fullHost(h, vs.namespace, world) })));
    const exact = Map.groupBy(
      all.filter((x) => !x.host.includes("*")),
      (x) => x.host,
    );
    return {
      exact: new Map([...exact].map(([host, list]) => [host, list.map((x) => x.vs)])),
      wild: all.filter((x) => x.host.includes("*")).sort((a, b) => b.host.length - a.host.length),
    };
  });
}

/** Of the mesh, for a service: the exact host beats a pattern of any age; among equals the oldest comes first. */
export function virtualServicesFor(
  world: PolicyWorld,
  host: string,
  clientNamespace: string,
): VirtualService[] {
  const { exact, wild } = meshIndex(world);
  const named = exact.get(host) ?? [];
  const patterns = wild.filter((x) => hostMatches(x.host, host)).map((x) => x.vs);
  return [...named, ...patterns].filter((vs) => isExported(vs.spec.exportTo, vs.namespace, clientNamespace));
}

interface HomelessHost {
  readonly host: string;
  /** Oldest first. */
  readonly candidates: readonly VirtualService[];
}
const homelessOf = new Memo<readonly HomelessHost[]>();
/** Hosts of mesh VirtualServices that no service has. */
export function homelessHosts(world: PolicyWorld): readonly HomelessHost[] {
  return homelessOf.get(world, "", () => {
    const { exact, wild } = meshIndex(world);
    const hosts = new Set(world.services.map((s) => s.host));
    const names = [...exact]
      .filter(([host]) => !hosts.has(host))
      .map(([host, candidates]) => ({ host, candidates }));
    const patterns = [...Map.groupBy(wild, (x) => x.host)]
      .filter(([pattern]) => !world.services.some((s) => hostMatches(pattern, s.host)))
      .map(([host, list]) => ({ host, candidates: list.map((x) => x.vs) }));
    return [...names, ...patterns].filter(({ candidates }) =>
      candidates.some((vs) => (vs.spec.http?.length ?? 0) > 0),
    );
  });
}

interface Resolved {
  readonly services: PolicyWorld["services"];
  /** Null where it has no delegates: other objects do not change what it says. */
  readonly objects: PolicyWorld["objects"] | null;
  readonly byContext: Map<string, readonly RouteIr[]>;
}
const resolved = new WeakMap<VirtualService, Resolved>();

/**
 * For this client; empty if no rule concerns it: then the policy does not speak. The same array for as long as neither
 * it, nor its delegates, nor the services change: one changed policy costs its own size, not that of all.
 */
export function resolveHttpRoutes(
  world: PolicyWorld,
  vs: VirtualService,
  context: RouteContext,
): readonly RouteIr[] {
  const { services } = world;
  const objects = (vs.spec.http ?? []).some((h) => h.delegate) ? world.objects : null;
  let known = resolved.get(vs);
  if (known?.services !== services || known.objects !== objects) {
    known = { services, objects, byContext: new Map() };
    resolved.set(vs, known);
  }
  const key = JSON.stringify(context);
  let routes = known.byContext.get(key);
  if (routes === undefined) {
    routes = httpRoutesOf(world, vs, context);
    known.byContext.set(key, routes);
  }
  return routes;
}

function httpRoutesOf(world: PolicyWorld, vs: VirtualService, context: RouteContext): RouteIr[] {
  const routes: RouteIr[] = [];
  for (const { owner, route, matches } of rulesOf(world, vs).rules) {
    for (const { match, path } of matches)
      if (match === null || concerns(match, vs, context))
        routes.push(routeIr(world, owner, route, match, owner.line(path), context));
    // What stands behind a catch-all can never be reached; istiod stops here as well.
    if (routes.some((r) => isCatchAll(r.match))) break;
  }
  return routes;
}

/** Takes every request, so that no route behind it is ever met. */
export function isCatchAll({ path, headers, query }: RouteMatchIr): boolean {
  const all =
    path === null ||
    (path.kind === "prefix" && path.value === "/") ||
    (path.kind === "regex" && path.value === ".*");
  return all && headers.length + query.length === 0;
}

/** What a match says of the client and of the port, as opposed to the request. */
export function concerns(match: L4MatchSpec, vs: VirtualService, context: RouteContext): boolean {
  if (match.port !== undefined && match.port !== context.port) return false;
  if (match.sourceNamespace !== undefined && match.sourceNamespace !== context.namespace) return false;
  if (match.sourceLabels !== undefined && !selects(match.sourceLabels, context.labels)) return false;
  return !match.gateways || gatewayNames(match.gateways, vs.namespace).includes(context.gateway);
}

function stringIr(m: StringMatchSpec): StringMatchIr {
  if (m.exact !== undefined) return { kind: "exact", value: m.exact };
  if (m.prefix !== undefined) return { kind: "prefix", value: m.prefix };
  if (m.regex !== undefined) return { kind: "regex", value: m.regex };
  return { kind: "present" };
}

function matchIr(match: HttpMatchSpec | null): RouteMatchIr {
  if (match === null) return ANY_MATCH;
  const headers: HeaderMatchIr[] = [];
  const add = (name: string, m: StringMatchSpec | undefined, invert = false): void => {
    if (m !== undefined)
      headers.push({ name: name.toLowerCase(), match: stringIr(m), invert, ignoreCase: false });
  };
  add(":method", match.method);
  add(":authority", match.authority);
  add(":scheme", match.scheme);
  for (const [name, m] of Object.entries(match.headers ?? {})) add(name, m);
  for (const [name, m] of Object.entries(match.withoutHeaders ?? {})) add(name, m, true);
  const uri = match.uri === undefined ? null : stringIr(match.uri);
  return {
    path: uri === null || uri.kind === "present" || uri.kind === "suffix" ? null : uri,
    ignorePathCase: match.ignoreUriCase ?? false,
    headers,
    query: Object.entries(match.queryParams ?? {}).map(([name, m]) => ({ name, match: stringIr(m) })),
  };
}

function headerIr(h: NonNullable<HeadersSpec["request"]> | undefined): HeaderChangeIr | null {
  if (h === undefined) return null;
  return { set: Object.entries(h.set ?? {}), add: Object.entries(h.add ?? {}), remove: h.remove ?? [] };
}

/** The port may be left out when the service has only one; else the port that was dialled. */
function destinationIr(world: PolicyWorld, d: DestinationSpec, namespace: string, dialled: number) {
  const host = fullHost(d.host, namespace, world);
  const ports = findService(world, host)?.ports ?? [];
  const port = d.port?.number ?? (ports.length === 1 ? ports[0]!.number : dialled);
  return { host, port, subset: d.subset ?? "" };
}

/** `port`: the one that was dialled. A destination of weight 0 is left out, as Envoy would never pick it. */
export function weighted(
  world: PolicyWorld,
  route: readonly (Omit<NonNullable<HttpRouteSpec["route"]>[number], "headers"> & {
    headers?: HeadersSpec | undefined;
  })[],
  namespace: string,
  port: number,
): WeightedClusterIr[] {
  const all = route.map((r) => ({
    cluster: destinationIr(world, r.destination, namespace, port),
    weight: route.length === 1 ? 1 : (r.weight ?? 0),
    requestHeaders: headerIr(r.headers?.request),
    responseHeaders: headerIr(r.headers?.response),
  }));
  return all.filter((d) => d.weight > 0);
}

function routeIr(
  world: PolicyWorld,
  vs: VirtualService,
  route: HttpRouteSpec,
  match: HttpMatchSpec | null,
  line: number,
  context: RouteContext,
): RouteIr {
  const ir = matchIr(match);
  const abort = route.fault?.abort;
  const delay = route.fault?.delay;
  return {
    name: [route.name, match?.name].filter(Boolean).join("."),
    match: ir,
    action: action(world, vs, route, ir, context),
    requestHeaders: headerIr(route.headers?.request),
    responseHeaders: headerIr(route.headers?.response),
    fault: route.fault
      ? {
          delay: delay ? { ms: delay.fixedDelay, percent: delay.percentage?.value ?? 100 } : null,
          abort:
            abort?.httpStatus !== undefined
              ? { kind: "http", status: abort.httpStatus, percent: abort.percentage?.value ?? 100 }
              : abort?.grpcStatus !== undefined
                ? { kind: "grpc", status: abort.grpcStatus, percent: abort.percentage?.value ?? 100 }
                : null,
        }
      : null,
    cors: null,
    source: { ...vs.source, line },
  };
}

function action(
  world: PolicyWorld,
  vs: VirtualService,
  r: HttpRouteSpec,
  ir: RouteMatchIr,
  context: RouteContext,
): RouteActionIr {
  if (r.redirect)
    return {
      kind: "redirect",
      path:
        r.redirect.uri !== undefined
          ? { kind: "full", value: r.redirect.uri }
          : r.redirect.prefixRewrite !== undefined
            ? { kind: "prefix", value: r.redirect.prefixRewrite }
            : null,
      host: r.redirect.authority ?? null,
      port: r.redirect.port ?? (r.redirect.derivePort === "FROM_REQUEST_PORT" ? context.port : null),
      scheme: r.redirect.scheme ?? null,
      status: r.redirect.redirectCode ?? 301,
    };
  if (r.directResponse)
    return { kind: "respond", status: r.directResponse.status, body: r.directResponse.body?.string ?? "" };
  const destinations = weighted(world, r.route ?? [], vs.namespace, context.port);
  if (destinations.length === 0) return { kind: "respond", status: 503, body: "" };
  const regex = r.rewrite?.uriRegexRewrite;
  const uri = r.rewrite?.uri;
  return {
    kind: "forward",
    destinations,
    rewritePath: regex
      ? { kind: "regex", pattern: regex.match, substitution: regex.rewrite }
      : uri === undefined
        ? null
        : { kind: ir.path === null || ir.path.kind === "prefix" ? "prefix" : "full", value: uri },
    rewriteHost: r.rewrite?.authority ?? null,
    timeoutMs: r.timeout ?? 0,
    retry: retryIr(r.retries),
    mirrors: [],
  };
}

function retryIr(r: HttpRouteSpec["retries"]): RetryIr | null {
  if (r === undefined) return DEFAULT_RETRY;
  if (r.attempts === 0) return null;
  const tokens =
    r.retryOn === undefined || r.retryOn === "" ? SAFE : r.retryOn.split(",").map((t) => t.trim());
  const codes = tokens.filter((t) => /^\d{3}$/.test(t)).map(Number);
  const on = tokens.filter((t) => !/^\d{3}$/.test(t));
  return {
    attempts: r.attempts ?? 2,
    perTryTimeoutMs: r.perTryTimeout ?? null,
    on: codes.length > 0 && !on.includes("retriable-status-codes") ? [...on, "retriable-status-codes"] : on,
    statusCodes: codes,
    backoffBaseMs: r.backoff ?? null,
    avoidPreviousHosts: r.retryIgnorePreviousHosts ?? true,
    otherLocalities: r.retryRemoteLocalities ?? false,
  };
}
