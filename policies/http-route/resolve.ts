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

/** Routes of several HTTPRoutes on one host, in the Gateway API's order of precedence. */
export function resolveHttpRoutesOf(world: PolicyWorld, routes: readonly HttpRoute[]): RouteIr[] {
  const all = routes.flatMap((route) =>
    (route.spec.rules ?? []).flatMap((rule, i) =>
      (rule.matches && rule.matches.length > 0 ? rule.matches : [null]).map((match, j) => ({
        ir: routeIr(world, route, rule, match, i, j),
        method: match?.method !== undefined,
      })),
    ),
  );
  // Exact path, longest prefix, method, most headers, most query parameters; then age and file order (sort is stable).
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
): RouteIr {
  const path = match?.path?.value ?? "/";
  const type = match?.path?.type ?? "PathPrefix";
  const headers = (match?.headers ?? []).map((h) => ({
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
      query: (match?.queryParams ?? []).map((q) => ({
        name: q.name,
        match: {
          kind: q.type === "RegularExpression" ? ("regex" as const) : ("exact" as const),
          value: q.value,
        },
      })),
    },
    action: action(world, route, rule),
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

function change(f: FilterSpec["requestHeaderModifier"]): HeaderChangeIr | null {
  if (f === undefined) return null;
  const pairs = (l: typeof f.set) => (l ?? []).map((h) => [h.name, h.value] as const);
  return { set: pairs(f.set), add: pairs(f.add), remove: f.remove ?? [] };
}

function rewrite(p: Modifier | undefined): PathRewriteIr | null {
  if (p === undefined) return null;
  return p.type === "ReplaceFullPath"
    ? { kind: "full", value: p.replaceFullPath ?? "/" }
    : { kind: "prefix", value: p.replacePrefixMatch ?? "/" };
}

/** No cluster can have this name (RFC 2606). */
const INVALID_BACKEND = "backend.invalid";

function action(world: PolicyWorld, route: HttpRoute, rule: Rule): RouteActionIr {
  const redirect = rule.filters?.find((f) => f.type === "RequestRedirect")?.requestRedirect;
  if (redirect)
    return {
      kind: "redirect",
      path: rewrite(redirect.path),
      host: redirect.hostname ?? null,
      port: redirect.port ?? null,
      scheme: redirect.scheme ?? null,
      status: redirect.statusCode ?? 302,
    };
  const destinations = (rule.backendRefs ?? []).flatMap((b): WeightedClusterIr[] => {
    const ns = b.namespace ?? route.namespace;
    const host = `${b.name}.${ns}.svc.${world.mesh.clusterDomain}`;
    if (b.weight === 0) return [];
    const valid =
      (b.kind ?? "Service") === "Service" &&
      b.port !== undefined &&
      (ns === route.namespace || granted(world, route, ns, b.name)) &&
      findService(world, host)?.host === host;
    const cluster = { host: valid ? host : INVALID_BACKEND, port: b.port ?? 0, subset: "" };
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

function granted(world: PolicyWorld, route: HttpRoute, namespace: string, name: string): boolean {
  return objectsOf(world, "gateway.networking.k8s.io/ReferenceGrant").some(
    (g) =>
      g.namespace === namespace &&
      g.spec.from.some((f) => f.kind === "HTTPRoute" && f.namespace === route.namespace) &&
      g.spec.to.some((t) => t.kind === "Service" && (t.name === undefined || t.name === name)),
  );
}
