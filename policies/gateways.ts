import type { RouteActionIr, RouteIr, VirtualHostIr } from "#ir/route.ts";
import type { GatewayListenerIr } from "#ir/workload.ts";
import { fullHost, hostMatches } from "./host.ts";
import { resolveHttpRoutesOf } from "./http-route/resolve.ts";
import { ANY_MATCH, gatewayNames, isCatchAll, resolveHttpRoutes } from "./virtual-service/resolve.ts";
import { isExported, objectsOf, type PolicyWorld, selects, targetPortOf, type Workload } from "./world.ts";

export const GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name";

/** What a workload serves as a gateway, by port; nothing for a sidecar. */
export function resolveGateways(
  world: PolicyWorld,
  workload: Pick<Workload, "namespace" | "labels" | "ports">,
): GatewayListenerIr[] {
  const listeners = new Map<number, GatewayListenerIr>();
  const add = (
    number: number,
    name: string,
    hosts: VirtualHostIr[],
    source: GatewayListenerIr["source"],
  ): void => {
    for (const port of listeningPorts(world, workload, number)) {
      const before = listeners.get(port);
      const virtualHosts = mergeHosts([...(before?.virtualHosts ?? []), ...hosts]);
      listeners.set(
        port,
        before
          ? { ...before, virtualHosts }
          : { port, protocol: "http", name, virtualHosts, tls: null, source },
      );
    }
  };
  for (const g of objectsOf(world, "networking.istio.io/Gateway")) {
    const selector = g.spec.selector ?? {};
    if (Object.keys(selector).length === 0 || !selects(selector, workload.labels)) continue;
    for (const [i, server] of g.spec.servers.entries()) {
      const hosts = objectsOf(world, "networking.istio.io/VirtualService").flatMap((vs): VirtualHostIr[] => {
        const gateway = `${g.namespace}/${g.name}`;
        if (!gatewayNames(vs.spec.gateways, vs.namespace).includes(gateway)) return [];
        // To whom it is exported is asked of the proxy, as for sidecars (istiod VirtualServicesForGateway).
        if (!isExported(vs.spec.exportTo, vs.namespace, workload.namespace)) return [];
        const domains = (vs.spec.hosts ?? []).flatMap((h) =>
          admittedHosts(server.hosts, g.namespace, fullHost(h, vs.namespace, world), vs.namespace),
        );
        const context = {
          port: server.port.number,
          gateway,
          namespace: workload.namespace,
          labels: workload.labels,
        };
        const routes = resolveHttpRoutes(world, vs, context);
        // An empty host would hide a wider one.
        if (routes.length === 0) return [];
        return [...new Set(domains)].map((d) => ({
          name: `${d}:${server.port.number}`,
          domains: [d],
          routes,
        }));
      });
      const source = { ...g.source, line: g.line(["spec", "servers", i]) };
      const redirected = server.tls?.httpsRedirect
        ? server.hosts.map((h) => redirectHost(h, server.port.number, source))
        : hosts;
      add(server.port.number, server.port.name ?? String(server.port.number), redirected, source);
    }
  }
  for (const g of objectsOf(world, "gateway.networking.k8s.io/Gateway")) {
    if (g.namespace !== workload.namespace || workload.labels[GATEWAY_LABEL] !== g.name) continue;
    for (const [i, l] of g.spec.listeners.entries()) {
      const routes = objectsOf(world, "gateway.networking.k8s.io/HTTPRoute").filter(
        (r) =>
          (r.namespace === g.namespace || l.allowedRoutes?.namespaces?.from === "All") &&
          (r.spec.parentRefs ?? []).some(
            (p) =>
              (p.kind ?? "Gateway") === "Gateway" &&
              p.name === g.name &&
              (p.namespace ?? r.namespace) === g.namespace &&
              (p.sectionName === undefined || p.sectionName === l.name) &&
              (p.port === undefined || p.port === l.port),
          ),
      );
      const listener = l.hostname ?? "*";
      const byHost = new Map<string, typeof routes>();
      for (const r of routes)
        for (const h of r.spec.hostnames ?? ["*"]) {
          const domain = hostMatches(listener, h) ? h : hostMatches(h, listener) ? listener : null;
          if (domain !== null) byHost.set(domain, [...(byHost.get(domain) ?? []), r]);
        }
      const hosts = [...byHost].map(([d, rs]) => ({
        name: `${d}:${l.port}`,
        domains: [d],
        routes: resolveHttpRoutesOf(world, rs, l.port),
      }));
      add(l.port, l.name, hosts, { ...g.source, line: g.line(["spec", "listeners", i]) });
    }
  }
  return [...listeners.values()].sort((a, b) => a.port - b.port);
}

/** What of `host`, in a VirtualService of namespace `from`, a server with these hosts serves: the narrower of the two. */
export function admittedHosts(
  serverHosts: readonly string[],
  gatewayNamespace: string,
  host: string,
  from: string,
): string[] {
  return serverHosts.flatMap((h): string[] => {
    const [owner, own] = h.includes("/")
      ? (h.toLowerCase().split("/") as [string, string])
      : ["*", h.toLowerCase()];
    if (owner !== "*" && owner !== from && !(owner === "." && gatewayNamespace === from)) return [];
    return hostMatches(own, host) ? [host] : hostMatches(host, own) ? [own] : [];
  });
}

/**
 * A server's number is a port of the gateway's Service, and the proxy listens where that leads: 80 to 8080, usually.
 * A number that no Service of the gateway has is the proxy's own port.
 */
function listeningPorts(
  world: PolicyWorld,
  workload: Pick<Workload, "namespace" | "labels" | "ports">,
  number: number,
): number[] {
  const targets = new Set<number>();
  for (const s of world.services) {
    if (s.namespace !== workload.namespace || Object.keys(s.selector ?? {}).length === 0) continue;
    const port = s.ports.find((p) => p.number === number);
    if (port === undefined || !selects(s.selector!, workload.labels)) continue;
    const target = targetPortOf(port, workload);
    if (target !== null) targets.add(target);
  }
  return targets.size > 0 ? [...targets] : [number];
}

/**
 * Several objects, or servers that lead to one port, may serve one host: their routes follow each other, oldest object
 * first, and what takes every request stands behind all others (istiod SortVHostRoutes).
 */
function mergeHosts(hosts: readonly VirtualHostIr[]): VirtualHostIr[] {
  const merged = new Map<string, VirtualHostIr>();
  for (const h of hosts) {
    const key = h.domains.join();
    const before = merged.get(key);
    merged.set(key, before ? { ...before, routes: catchAllsLast([...before.routes, ...h.routes]) } : h);
  }
  return [...merged.values()];
}

function catchAllsLast(routes: readonly RouteIr[]): RouteIr[] {
  return [...routes.filter((r) => !isCatchAll(r.match)), ...routes.filter((r) => isCatchAll(r.match))];
}

function redirectHost(host: string, port: number, source: GatewayListenerIr["source"]): VirtualHostIr {
  const name = host.includes("/") ? host.split("/")[1]! : host;
  const action: RouteActionIr = {
    kind: "redirect",
    path: null,
    host: null,
    port: null,
    scheme: "https",
    status: 301,
  };
  const route: RouteIr = {
    name: "https-redirect",
    match: ANY_MATCH,
    action,
    requestHeaders: null,
    responseHeaders: null,
    fault: null,
    cors: null,
    source,
  };
  return { name: `${name}:${port}`, domains: [name], routes: [route] };
}
