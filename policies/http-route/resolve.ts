import type { HeaderChangeIr, PathRewriteIr, RouteActionIr, RouteIr, WeightedClusterIr } from "#ir/route.ts";
import { Memo } from "#lib/memo.ts";
import { findService } from "../host.ts";
import type { Loaded } from "../load.ts";
import { DEFAULT_RETRY } from "../virtual-service/resolve.ts";
import { objectsOf, type PolicyWorld, type Service } from "../world.ts";
import type { FilterSpec, HttpRouteMatchSpec } from "./spec.ts";

export type HttpRoute = Loaded<"gateway.networking.k8s.io/HTTPRoute">;
type Rule = NonNullable<HttpRoute["spec"]["rules"]>[number];
type Modifier = FilterSpec["urlRewrite"] extends { path?: infer P } | undefined ? P : never;

const onServices = new Memo<ReadonlyMap<string, readonly HttpRoute[]>>();
/** HTTPRoutes that name the Service as a parent, oldest first. */
export function routesOnService(world: PolicyWorld, service: Service): readonly HttpRoute[] {
  if (service.kind !== "kubernetes") return [];
  const index = onServices.get(world.objects, "", () => {
    const found = new Map<string, Set<HttpRoute>>();
    for (const route of objectsOf(world, "gateway.networking.k8s.io/HTTPRoute"))
      for (const p of route.spec.parentRefs ?? []) {
        if (p.kind !== "Service") continue;
        const key = `${p.namespace ?? route.namespace}/${p.name}`;
        found.set(key, (found.get(key) ?? new Set()).add(route));
      }
    return new Map([...found].map(([key, routes]) => [key, [...routes]]));
  });
  return index.get(`${service.namespace}/${service.name}`) ?? [];
}

/**
 * Routes of several HTTPRoutes on one host, in the Gateway API's order of precedence. They come oldest first.
 * @param listenerPort of the Gateway's listener, or the Service's: where redirects lead that name no port
 */
export function resolveHttpRoutesOf(
  world: PolicyWorld,
  routes: readonly HttpRoute[],
  listenerPort: number,
): RouteIr[] {
  const all = routes.flatMap((route) =>
    (route.spec.rules ?? []).flatMap((rule, i) =>
      (rule.matches && rule.matches.length > 0 ? rule.matches : [null]).map((match, j) => ({
        ir: routeIr(world, route, rule, match, i, j, listenerPort),
        method: match?.method !== undefined,
      })),
    ),
  );
  // Exact path, longest prefix, method, most headers, most query parameters; then the order of the HTTPRoutes and their rules (sort is stable).
  const rank = ({ ir, method }: (typeof all)[number]): number[] => [
    ir.match.path?.kind === "exact" ? 1 : 0,
    ir.match.path?.kind === "segments" ? ir.match.path.value.length : ir.match.path?.kind === "regex" ? 1 : 0,
    method ? 1 : 0,
    ir.match.headers.filter((h) => h.name !== ":method").length,
    ir.match.query.length,
  ];
  return all
    .map((x) => ({ x, rank: rank(x) }))
    .sort((a, b) => {
      for (const [i, r] of a.rank.entries()) if (r !== b.rank[i]) return b.rank[i]! - r;
      return 0;
    })
    .map(({ x }) => x.ir);
}

function routeIr(
  world: PolicyWorld,
  route: HttpRoute,
  rule: Rule,
  match: HttpRouteMatchSpec | null,
  i: number,
  j: number,
  listenerPort: number,
): RouteIr {
  const path = match?.path?.value ?? "/";
  const type = match?.path?.type ?? "PathPrefix";
  const headers = firstOfEach(match?.headers ?? [], (h) => h.name.toLowerCase()).map((h) => ({
    name: h.name.toLowerCase(),
    match: { kind: h.type === "RegularExpression" ? ("regex" as const) : ("exact" as const), value: h.value },
    invert: false,
    ignoreCase: false,
  }));
  if (match?.method)
    headers.unshift({
      name: ":method",
      match: { kind: "exact", value: match.method },
      invert: false,
      ignoreCase: false,
    });
  const find = (type: FilterSpec["type"]) => rule.filters?.find((f) => f.type === type);
  return {
    name: `${route.namespace}.${route.name}.${i}`,
    match: {
      path:
        type === "Exact"
          ? { kind: "exact", value: path }
          : type === "RegularExpression"
            ? { kind: "regex", value: path }
            : path === "/"
              ? null
              : { kind: "segments", value: path.replace(/\/+$/, "") },
      ignorePathCase: false,
      headers,
      query: firstOfEach(match?.queryParams ?? [], (q) => q.name).map((q) => ({
        name: q.name,
        match: {
          kind: q.type === "RegularExpression" ? ("regex" as const) : ("exact" as const),
          value: q.value,
        },
      })),
    },
    action: action(world, route, rule, listenerPort),
    requestHeaders: change(find("RequestHeaderModifier")?.requestHeaderModifier),
    responseHeaders: change(find("ResponseHeaderModifier")?.responseHeaderModifier),
    fault: null,
    cors: null,
    source: {
      ...route.source,
      line: route.line(match === null ? ["spec", "rules", i] : ["spec", "rules", i, "matches", j]),
    },
  };
}

/** Gateway API: of several conditions on one name only the first counts. */
function firstOfEach<T>(list: readonly T[], nameOf: (item: T) => string): readonly T[] {
  return list.filter((item, i) => list.findIndex((other) => nameOf(other) === nameOf(item)) === i);
}

function change(f: FilterSpec["requestHeaderModifier"]): HeaderChangeIr | null {
  if (f === undefined) return null;
  const pairs = (l: typeof f.set) => (l ?? []).map((h) => [h.name, h.value] as const);
  return { set: pairs(f.set), add: pairs(f.add), remove: f.remove ?? [] };
}

function rewrite(p: Modifier | undefined): PathRewriteIr | null {
  if (p === undefined) return null;
  return p.type === "ReplaceFullPath"
    ? { kind: "full", value: p.replaceFullPath ?? "/" }
    : { kind: "segments", value: (p.replacePrefixMatch ?? "").replace(/\/+$/, "") };
}

const WELL_KNOWN: Readonly<Record<string, number>> = { http: 80, https: 443 };

/** No cluster can have this name (RFC 2606). */
const INVALID_BACKEND = "backend.invalid";

function action(world: PolicyWorld, route: HttpRoute, rule: Rule, listenerPort: number): RouteActionIr {
  const redirect = rule.filters?.find((f) => f.type === "RequestRedirect")?.requestRedirect;
  if (redirect)
    return {
      kind: "redirect",
      path: rewrite(redirect.path),
      host: redirect.hostname ?? null,
      // HTTPRequestRedirectFilter.port: the scheme's well-known port, without a scheme the listener's.
      port: redirect.port ?? WELL_KNOWN[redirect.scheme ?? ""] ?? listenerPort,
      scheme: redirect.scheme ?? null,
      status: redirect.statusCode ?? 302,
    };
  const destinations = (rule.backendRefs ?? []).flatMap((b): WeightedClusterIr[] => {
    if (b.weight === 0) return [];
    const valid = backendFault(world, route, b) === null;
    const host = valid ? backendHost(world, route, b) : INVALID_BACKEND;
    const cluster = { host, port: b.port ?? 0, subset: "" };
    const find = (type: FilterSpec["type"]) => b.filters?.find((f) => f.type === type);
    return [
      {
        cluster,
        weight: b.weight ?? 1,
        requestHeaders: change(find("RequestHeaderModifier")?.requestHeaderModifier),
        responseHeaders: change(find("ResponseHeaderModifier")?.responseHeaderModifier),
      },
    ];
  });
  // Gateway API: an invalid backend answers its share of the requests with 500.
  if (destinations.every(({ cluster }) => cluster.host === INVALID_BACKEND))
    return { kind: "respond", status: 500, body: "" };
  const url = rule.filters?.find((f) => f.type === "URLRewrite")?.urlRewrite;
  return {
    kind: "forward",
    destinations,
    rewritePath: rewrite(url?.path),
    rewriteHost: url?.hostname ?? null,
    timeoutMs: rule.timeouts?.request ?? 0,
    retry: { ...DEFAULT_RETRY, perTryTimeoutMs: rule.timeouts?.backendRequest ?? null },
    mirrors: [],
    ...(destinations.some(({ cluster }) => cluster.host === INVALID_BACKEND) ? { missingStatus: 500 } : {}),
  };
}

type BackendRef = NonNullable<Rule["backendRefs"]>[number];

function backendHost(world: PolicyWorld, route: HttpRoute, b: BackendRef): string {
  return `${b.name}.${b.namespace ?? route.namespace}.svc.${world.mesh.clusterDomain}`;
}

/** Why a backend is none, as [code, text]; null = requests can go there. */
export function backendFault(
  world: PolicyWorld,
  route: HttpRoute,
  b: BackendRef,
): readonly [code: string, text: string] | null {
  const kind = `${b.kind ?? "Service"}${b.group ? `.${b.group}` : ""}`;
  if (kind !== "Service") return ["unknown-backend", `no backend can be a ${kind}: only a Service`];
  const ns = b.namespace ?? route.namespace;
  if (ns !== route.namespace && !granted(world, route, ns, b.name ?? ""))
    return [
      "not-granted",
      `no ReferenceGrant in namespace ${ns} lets HTTPRoutes of ${route.namespace} use Service ${b.name}`,
    ];
  const service = findService(world, backendHost(world, route, b));
  if (service === null || service.kind !== "kubernetes")
    return ["unknown-host", `no Service ${ns}/${b.name}`];
  if (b.port === undefined) return ["unknown-port", "a Service as backend needs a port"];
  if (!service.ports.some((p) => p.number === b.port)) {
    const ports = service.ports.map((p) => p.number).join(", ") || "none";
    return ["unknown-port", `Service ${ns}/${b.name} has no port ${b.port} (it has ${ports})`];
  }
  return null;
}

/** By any grant of that namespace that fits in all its fields. */
function granted(world: PolicyWorld, route: HttpRoute, namespace: string, name: string): boolean {
  return objectsOf(world, "gateway.networking.k8s.io/ReferenceGrant").some(
    (g) =>
      g.namespace === namespace &&
      g.spec.from.some(
        (f) =>
          f.group === route.source.group && f.kind === route.source.kind && f.namespace === route.namespace,
      ) &&
      g.spec.to.some((t) => t.group === "" && t.kind === "Service" && (!t.name || t.name === name)),
  );
}
