import type { ClusterIr } from "#ir/cluster.ts";
import type {
  ClusterRef,
  RouteActionIr,
  RouteIr,
  RouteTableIr,
  VirtualHostIr,
  WeightedClusterIr,
} from "#ir/route.ts";
import type {
  GatewayListenerIr,
  HttpServiceIr,
  InboundPortIr,
  TcpServiceIr,
  WorkloadIr,
} from "#ir/workload.ts";
import { resolveAuthorization } from "./authorization-policy/resolve.ts";
import { resolveClusters } from "./destination-rule/resolve.ts";
import { domainsOf, fullHost, hostMatches } from "./host.ts";
import { resolveHttpRoutesOf } from "./http-route/resolve.ts";
import { resolveMtls } from "./peer-authentication/resolve.ts";
import {
  ANY_MATCH,
  DEFAULT_RETRY,
  gatewayNames,
  resolveHttpRoutes,
  weighted,
} from "./virtual-service/resolve.ts";
import {
  objectsOf,
  type Service,
  type ServicePort,
  selects,
  spiffeId,
  targetPortOf,
  type Workload,
  type World,
} from "./world.ts";

const GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name";

/** What all policies mean for one workload. Pure: same world and workload, same result. */
export function resolve(world: World, workload: Workload): WorkloadIr {
  const gatewayListeners = resolveGateways(world, workload);
  const clusters: ClusterIr[] = [];
  const tables = new Map<number, { hosts: VirtualHostIr[]; taken: Set<string> }>();
  const tcpServices: TcpServiceIr[] = [];
  const httpServices: HttpServiceIr[] = [];
  for (const service of world.services)
    for (const port of service.ports) {
      clusters.push(...resolveClusters(world, service, port, workload.namespace));
      const cluster: ClusterRef = { host: service.host, port: port.number, subset: "" };
      if (port.protocol === "tcp" || port.protocol === "tls" || port.protocol === "auto") {
        tcpServices.push(tcpService(world, workload, service, port, port.protocol));
        continue;
      }
      httpServices.push({ ...cluster, addresses: service.addresses });
      const table = tables.get(port.number) ?? { hosts: [], taken: new Set<string>() };
      tables.set(port.number, table);
      // Envoy rejects the whole table over one repeated domain: the first service keeps it.
      const domains = domainsOf(service, workload.namespace, world).filter(
        (d) => !table.taken.has(d.toLowerCase()),
      );
      for (const d of domains) table.taken.add(d.toLowerCase());
      if (domains.length > 0)
        table.hosts.push({
          name: `${service.host}:${port.number}`,
          domains,
          routes: meshRoutes(world, workload, service, port),
        });
    }
  return {
    kind: gatewayListeners.length > 0 ? "gateway" : "sidecar",
    name: workload.pod,
    namespace: workload.namespace,
    ip: workload.ip,
    labels: workload.labels,
    identity: {
      trustDomain: world.mesh.trustDomain,
      namespace: workload.namespace,
      serviceAccount: workload.serviceAccount,
      spiffeId: spiffeId(world.mesh, workload.namespace, workload.serviceAccount),
    },
    interception: workload.interception,
    inbound: resolveInbound(world, workload),
    defaultMtls: resolveMtls(world, workload, null),
    authorization: resolveAuthorization(world, workload),
    outboundHttp: [...tables]
      .sort(([a], [b]) => a - b)
      .map(([port, t]): RouteTableIr => ({ name: String(port), port, virtualHosts: t.hosts })),
    httpServices,
    tcpServices,
    clusters,
    gatewayListeners,
    outboundMode: world.mesh.outboundMode,
  };
}

function resolveInbound(world: World, workload: Workload): InboundPortIr[] {
  const ports = new Map<number, InboundPortIr>();
  for (const s of world.services) {
    if (s.selector === null || s.namespace !== workload.namespace || !selects(s.selector, workload.labels))
      continue;
    for (const p of s.ports) {
      const target = targetPortOf(p, workload);
      if (target === null || ports.has(target)) continue;
      ports.set(target, {
        port: target,
        servicePort: p.number,
        host: s.host,
        service: { name: s.name, namespace: s.namespace },
        protocol: p.protocol,
        mtls: resolveMtls(world, workload, target),
      });
    }
  }
  for (const { name, port } of workload.ports) {
    if (ports.has(port)) continue;
    const protocol = name === "http" || name.startsWith("http-") ? "http" : "auto";
    const mtls = resolveMtls(world, workload, port);
    ports.set(port, { port, servicePort: null, host: null, service: null, protocol, mtls });
  }
  return [...ports.values()].sort((a, b) => a.port - b.port);
}

/** VirtualService before HTTPRoute before the plain default, as istiod orders them. */
function meshRoutes(world: World, workload: Workload, service: Service, port: ServicePort): RouteIr[] {
  const candidates = objectsOf(world, "networking.istio.io/VirtualService").filter(
    (v) =>
      gatewayNames(v.spec.gateways, v.namespace).includes("mesh") &&
      (v.spec.http?.length ?? 0) > 0 &&
      (v.spec.hosts ?? []).some((h) => hostMatches(fullHost(h, v.namespace, world), service.host)),
  );
  // The exact host beats a wildcard of any age; among equals the oldest wins.
  const exact = (v: (typeof candidates)[number]) =>
    (v.spec.hosts ?? []).some((h) => fullHost(h, v.namespace, world) === service.host);
  const vs = candidates.find(exact) ?? candidates[0];
  const context = {
    port: port.number,
    gateway: "mesh",
    namespace: workload.namespace,
    labels: workload.labels,
  };
  if (vs) return resolveHttpRoutes(world, vs, context);
  const attached = objectsOf(world, "gateway.networking.k8s.io/HTTPRoute").filter((r) =>
    (r.spec.parentRefs ?? []).some(
      (p) =>
        p.kind === "Service" &&
        service.kind === "kubernetes" &&
        p.name === service.name &&
        (p.namespace ?? r.namespace) === service.namespace &&
        // A route in the caller's namespace speaks for that namespace alone (GAMMA consumer route).
        (r.namespace === service.namespace || r.namespace === workload.namespace) &&
        (p.port === undefined || p.port === port.number),
    ),
  );
  const consumer = attached.filter((r) => r.namespace === workload.namespace);
  if (attached.length > 0) return resolveHttpRoutesOf(world, consumer.length > 0 ? consumer : attached);
  return [defaultRoute({ host: service.host, port: port.number, subset: "" })];
}

const plain = (cluster: ClusterRef): WeightedClusterIr => ({
  cluster,
  weight: 1,
  requestHeaders: null,
  responseHeaders: null,
});

function defaultRoute(cluster: ClusterRef): RouteIr {
  const action: RouteActionIr = {
    kind: "forward",
    destinations: [plain(cluster)],
    rewritePath: null,
    rewriteHost: null,
    timeoutMs: 0,
    retry: DEFAULT_RETRY,
    mirrors: [],
  };
  const none = { requestHeaders: null, responseHeaders: null, fault: null, cors: null, source: null };
  return { name: "default", match: ANY_MATCH, action, ...none };
}

function tcpService(
  world: World,
  workload: Workload,
  service: Service,
  port: ServicePort,
  protocol: "tcp" | "tls" | "auto",
): TcpServiceIr {
  let destinations = [plain({ host: service.host, port: port.number, subset: "" })];
  let source: TcpServiceIr["source"] = null;
  for (const vs of objectsOf(world, "networking.istio.io/VirtualService")) {
    if (!gatewayNames(vs.spec.gateways, vs.namespace).includes("mesh")) continue;
    if (!(vs.spec.hosts ?? []).some((h) => hostMatches(fullHost(h, vs.namespace, world), service.host)))
      continue;
    const i = (vs.spec.tcp ?? []).findIndex(
      (t) =>
        !t.match ||
        t.match.some(
          (m) =>
            (m.port === undefined || m.port === port.number) &&
            (m.sourceNamespace === undefined || m.sourceNamespace === workload.namespace) &&
            selects(m.sourceLabels ?? {}, workload.labels) &&
            (!m.gateways || m.gateways.includes("mesh")),
        ),
    );
    if (i < 0) continue;
    const route = vs.spec.tcp![i]!.route.map((r) => ({ ...r, headers: undefined }));
    destinations = weighted(world, route, vs.namespace, port.number);
    source = { ...vs.source, line: vs.line(["spec", "tcp", i]) };
    break;
  }
  const name = `${service.host}:${port.number}`;
  const http: RouteTableIr | null =
    protocol === "auto"
      ? {
          name,
          port: port.number,
          virtualHosts: [{ name, domains: ["*"], routes: meshRoutes(world, workload, service, port) }],
        }
      : null;
  const sniHosts = protocol === "tls" ? [service.host] : [];
  return {
    host: service.host,
    port: port.number,
    addresses: service.addresses,
    protocol,
    sniHosts,
    destinations,
    http,
    source,
  };
}

function resolveGateways(world: World, workload: Workload): GatewayListenerIr[] {
  const listeners = new Map<number, GatewayListenerIr>();
  const add = (
    port: number,
    name: string,
    hosts: VirtualHostIr[],
    source: GatewayListenerIr["source"],
  ): void => {
    const before = listeners.get(port);
    const virtualHosts = mergeHosts([...(before?.virtualHosts ?? []), ...hosts]);
    listeners.set(
      port,
      before
        ? { ...before, virtualHosts }
        : { port, protocol: "http", name, virtualHosts, tls: null, source },
    );
  };
  for (const g of objectsOf(world, "networking.istio.io/Gateway")) {
    const selector = g.spec.selector ?? {};
    if (Object.keys(selector).length === 0 || !selects(selector, workload.labels)) continue;
    for (const [i, server] of g.spec.servers.entries()) {
      const hosts = objectsOf(world, "networking.istio.io/VirtualService").flatMap((vs): VirtualHostIr[] => {
        const gateway = `${g.namespace}/${g.name}`;
        if (!gatewayNames(vs.spec.gateways, vs.namespace).includes(gateway)) return [];
        const mine = server.hosts.flatMap((h): string[] => {
          const [ns, host] = h.includes("/") ? (h.split("/") as [string, string]) : ["*", h];
          return ns === "*" || ns === vs.namespace || (ns === "." && g.namespace === vs.namespace)
            ? [host]
            : [];
        });
        const domains = (vs.spec.hosts ?? []).flatMap((h) => {
          const host = fullHost(h, vs.namespace, world);
          // The narrower of the two hosts is what both allow.
          return mine.flatMap((m) => (hostMatches(m, host) ? [host] : hostMatches(host, m) ? [m] : []));
        });
        const context = {
          port: server.port.number,
          gateway,
          namespace: workload.namespace,
          labels: workload.labels,
        };
        const routes = resolveHttpRoutes(world, vs, context);
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
        routes: resolveHttpRoutesOf(world, rs),
      }));
      add(l.port, l.name, hosts, { ...g.source, line: g.line(["spec", "listeners", i]) });
    }
  }
  return [...listeners.values()].sort((a, b) => a.port - b.port);
}

/** Several objects may serve one host of a gateway: their routes follow each other, oldest object first. */
function mergeHosts(hosts: readonly VirtualHostIr[]): VirtualHostIr[] {
  const merged = new Map<string, VirtualHostIr>();
  for (const h of hosts) {
    const before = merged.get(h.name);
    merged.set(h.name, before ? { ...before, routes: [...before.routes, ...h.routes] } : h);
  }
  return [...merged.values()];
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
