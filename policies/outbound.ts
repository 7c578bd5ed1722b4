import type { ClusterIr } from "#ir/cluster.ts";
import type {
  ClusterRef,
  RouteActionIr,
  RouteIr,
  RouteTableIr,
  VirtualHostIr,
  WeightedClusterIr,
} from "#ir/route.ts";
import type { HttpServiceIr, TcpServiceIr, TlsRouteIr } from "#ir/workload.ts";
import { Memo } from "#lib/memo.ts";
import type { Client } from "./client.ts";
import { instanceHost, instancesAt, resolveClusters, ruleFor } from "./destination-rule/resolve.ts";
import { domainsOf, hostMatches, instanceDomains } from "./host.ts";
import { resolveHttpRoutesOf, routesOnService } from "./http-route/resolve.ts";
import {
  ANY_MATCH,
  concerns,
  DEFAULT_RETRY,
  homelessHosts,
  type RouteContext,
  resolveHttpRoutes,
  type VirtualService,
  virtualServicesFor,
  weighted,
} from "./virtual-service/resolve.ts";
import { type Instance, isExported, type PolicyWorld, type Service, type ServicePort } from "./world.ts";

/** What one client may call, and how: the same for all workloads that are one `Client`. */
export interface Outbound {
  readonly clusters: readonly ClusterIr[];
  readonly outboundHttp: readonly RouteTableIr[];
  readonly httpServices: readonly HttpServiceIr[];
  readonly tcpServices: readonly TcpServiceIr[];
}

const results = new Memo<Outbound>();

/** Clusters, routes and services for all workloads that are this client; made once per world. */
export function resolveOutbound(world: PolicyWorld, client: Client): Outbound {
  return results.get(world, JSON.stringify(client), () => outboundOf(world, client));
}

function outboundOf(world: PolicyWorld, client: Client): Outbound {
  const clusters: ClusterIr[] = [];
  const tables = new Map<number, { hosts: VirtualHostIr[]; taken: Set<string> }>();
  const tcpServices: TcpServiceIr[] = [];
  const httpServices: HttpServiceIr[] = [];
  const seen = new Set<string>();
  const dialled = new Set<string>();
  for (const service of world.services) {
    // Of two services of one host the first one counts.
    if (seen.has(service.host) || !isExported(service.exportTo, service.namespace, client.namespace))
      continue;
    seen.add(service.host);
    const rule = ruleFor(world, service, client);
    for (const port of service.ports) {
      clusters.push(...resolveClusters(service, port, rule));
      const instances = instancesAt(service, port);
      if (port.protocol === "tcp" || port.protocol === "tls" || port.protocol === "auto") {
        const base = tcpService(world, client, service, port, port.protocol);
        tcpServices.push(base);
        for (const one of instances.flatMap((i) => tcpInstance(base, service, i))) {
          // Two headless services may select one pod: the first has its port.
          const place = `${one.addresses.join()} ${one.port}`;
          if (!dialled.has(place)) tcpServices.push(one);
          dialled.add(place);
        }
        continue;
      }
      httpServices.push({ host: service.host, port: port.number, subset: "", addresses: service.addresses });
      const table = tables.get(port.number) ?? { hosts: [], taken: new Set<string>() };
      tables.set(port.number, table);
      const host = httpHost(world, client, service, port);
      for (const h of [host, ...instances.map((i) => httpInstance(world, client, host, service, i))]) {
        // Envoy rejects the whole table over one repeated domain: the first service keeps it.
        const domains = h.domains.filter((d) => !table.taken.has(d.toLowerCase()));
        for (const d of domains) table.taken.add(d.toLowerCase());
        if (domains.length > 0) table.hosts.push(domains.length === h.domains.length ? h : { ...h, domains });
      }
    }
  }
  for (const [port, table] of tables) table.hosts.push(...homeless(world, client, port, table.taken));
  return {
    clusters,
    outboundHttp: [...tables]
      .sort(([a], [b]) => a - b)
      .map(([port, t]): RouteTableIr => ({ name: String(port), port, virtualHosts: t.hosts })),
    httpServices,
    tcpServices,
  };
}

/** Hosts of VirtualServices that no service has: Istio gives each of them a virtual host on every HTTP port. */
function homeless(
  world: PolicyWorld,
  client: Client,
  port: number,
  taken: ReadonlySet<string>,
): VirtualHostIr[] {
  return homelessHosts(world).flatMap(({ host, candidates }): VirtualHostIr[] => {
    if (taken.has(host)) return [];
    const routes = firstThatSpeaks(
      world,
      candidates.filter((vs) => isExported(vs.spec.exportTo, vs.namespace, client.namespace)),
      { port, gateway: "mesh", ...client },
    );
    if (routes === null) return [];
    const name = `${host}:${port}`;
    return [spokenHosts.get(routes, name, () => ({ name, domains: [host], routes }))];
  });
}

/** By the routes that a policy made: they stay the same while it does, and with them the host. */
const spokenHosts = new Memo<VirtualHostIr>();

const plainHosts = new Memo<VirtualHostIr>();

function httpHost(world: PolicyWorld, client: Client, service: Service, port: ServicePort): VirtualHostIr {
  const make = (routes: readonly RouteIr[]): VirtualHostIr => ({
    name: `${service.host}:${port.number}`,
    domains: domainsOf(service, client.namespace, world),
    routes,
  });
  const routes = policyRoutes(world, client, service, port);
  if (routes !== null) {
    const key = `${service.host} ${plainKey(world, client, service, port)}`;
    return spokenHosts.get(routes, key, () => make(routes));
  }
  // No policy speaks: the service alone decides, and the host stays the same object whatever else changes.
  return plainHosts.get(service, plainKey(world, client, service, port), () =>
    make([defaultRoute(service, port)]),
  );
}

/** What else than the service goes into its plain host: who may leave the namespace out of its names. */
function plainKey(world: PolicyWorld, client: Client, service: Service, port: ServicePort): string {
  return `${port.number} ${service.namespace === client.namespace} ${world.mesh.clusterDomain}`;
}

const instanceHosts = new Memo<VirtualHostIr>();

/** One pod of a headless service by its name: what is said of the service holds, and leads to that pod. */
function httpInstance(
  world: PolicyWorld,
  client: Client,
  of: VirtualHostIr,
  service: Service,
  instance: Instance,
): VirtualHostIr {
  return instanceHosts.get(of, instance.name, () => ({
    name: `${instance.name}.${of.name}`,
    domains: instanceDomains(service, instance, client.namespace, world),
    routes: routesTo(of.routes, service, instance),
  }));
}

function routesTo(routes: readonly RouteIr[], service: Service, instance: Instance): RouteIr[] {
  return routes.map((r) =>
    r.action.kind !== "forward"
      ? r
      : {
          ...r,
          action: { ...r.action, destinations: destinationsTo(r.action.destinations, service, instance) },
        },
  );
}

/** Of the service as a whole it becomes the pod; a subset that a policy chose stays. */
function destinationsTo(
  destinations: readonly WeightedClusterIr[],
  service: Service,
  instance: Instance,
): readonly WeightedClusterIr[] {
  const host = instanceHost(service, instance);
  return destinations.map((d) =>
    d.cluster.host === service.host && d.cluster.subset === ""
      ? { ...d, cluster: { ...d.cluster, host } }
      : d,
  );
}

const tcpInstances = new Memo<readonly TcpServiceIr[]>();

/** One pod of a headless service by its address, at the service's port and where that leads. */
function tcpInstance(base: TcpServiceIr, service: Service, instance: Instance): readonly TcpServiceIr[] {
  return tcpInstances.get(base, instance.name, () => {
    const { address, port: target } = instance.endpoint;
    const host = instanceHost(service, instance);
    const at = (port: number): TcpServiceIr => ({
      ...base,
      host,
      port,
      addresses: [address],
      domains: [...base.domains.map((name) => `${instance.name}.${name}`), address],
      destinations: destinationsTo(base.destinations, service, instance),
      http: base.http && {
        name: `${host}:${port}`,
        port,
        virtualHosts: base.http.virtualHosts.map((h) => ({
          ...h,
          name: `${host}:${port}`,
          routes: routesTo(h.routes, service, instance),
        })),
      },
    });
    const own = service.ports.some((p) => p.number === target);
    return own ? [at(base.port)] : [at(base.port), at(target)];
  });
}

/** VirtualService before HTTPRoute, as istiod orders them; null if neither speaks. */
function policyRoutes(
  world: PolicyWorld,
  client: Client,
  service: Service,
  port: ServicePort,
): readonly RouteIr[] | null {
  const context = { port: port.number, gateway: "mesh", ...client };
  const spoken = firstThatSpeaks(world, virtualServicesFor(world, service.host, client.namespace), context);
  if (spoken !== null) return spoken;
  const attached = routesOnService(world, service).filter(
    (r) =>
      // A route in the caller's namespace speaks for that namespace alone (GAMMA consumer route).
      (r.namespace === service.namespace || r.namespace === client.namespace) &&
      (r.spec.parentRefs ?? []).some(
        (p) =>
          p.kind === "Service" &&
          p.name === service.name &&
          (p.namespace ?? r.namespace) === service.namespace &&
          (p.port === undefined || p.port === port.number),
      ),
  );
  if (attached.length === 0) return null;
  const consumer = attached.filter((r) => r.namespace === client.namespace);
  return resolveHttpRoutesOf(world, consumer.length > 0 ? consumer : attached, port.number);
}

/** A VirtualService whose rules all concern other clients, ports or gateways does not speak: the next one is asked. */
function firstThatSpeaks(
  world: PolicyWorld,
  candidates: readonly VirtualService[],
  context: RouteContext,
): readonly RouteIr[] | null {
  for (const vs of candidates) {
    const routes = resolveHttpRoutes(world, vs, context);
    if (routes.length > 0) return routes;
  }
  return null;
}

const plain = (cluster: ClusterRef): WeightedClusterIr => ({
  cluster,
  weight: 1,
  requestHeaders: null,
  responseHeaders: null,
});

function defaultRoute(service: Service, port: ServicePort): RouteIr {
  const action: RouteActionIr = {
    kind: "forward",
    destinations: [plain({ host: service.host, port: port.number, subset: "" })],
    rewritePath: null,
    rewriteHost: null,
    timeoutMs: 0,
    retry: DEFAULT_RETRY,
    mirrors: [],
  };
  const none = { requestHeaders: null, responseHeaders: null, fault: null, cors: null, source: null };
  return { name: "default", match: ANY_MATCH, action, ...none };
}

const plainTcp = new Memo<TcpServiceIr>();

function tcpService(
  world: PolicyWorld,
  client: Client,
  service: Service,
  port: ServicePort,
  protocol: "tcp" | "tls" | "auto",
): TcpServiceIr {
  const candidates = virtualServicesFor(world, service.host, client.namespace);
  const tcp = tcpRoute(world, client, port.number, candidates);
  const tls = protocol === "tls" ? tlsRoutes(world, client, service, port.number, candidates) : [];
  const name = `${service.host}:${port.number}`;
  const policy = protocol === "auto" ? policyRoutes(world, client, service, port) : null;
  const make = (): TcpServiceIr => ({
    host: service.host,
    port: port.number,
    addresses: service.addresses,
    // The addresses of a headless service are its instances', that of a host outside is its own.
    ...(service.headless || (service.kind === "kubernetes" && service.external) ? { byNameOnly: true } : {}),
    domains: domainsOf(service, client.namespace, world),
    protocol,
    sniHosts: protocol === "tls" ? [service.host] : [],
    destinations: tcp?.destinations ?? [plain({ host: service.host, port: port.number, subset: "" })],
    tlsRoutes: tls,
    http:
      protocol === "auto"
        ? {
            name,
            port: port.number,
            virtualHosts: [{ name, domains: ["*"], routes: policy ?? [defaultRoute(service, port)] }],
          }
        : null,
    source: tcp?.source ?? null,
  });
  return tcp === null && tls.length === 0 && policy === null
    ? plainTcp.get(service, plainKey(world, client, service, port), make)
    : make();
}

function tcpRoute(
  world: PolicyWorld,
  client: Client,
  port: number,
  candidates: readonly VirtualService[],
): Pick<TcpServiceIr, "destinations" | "source"> | null {
  for (const vs of candidates) {
    const i = (vs.spec.tcp ?? []).findIndex(
      (t) => !t.match || t.match.some((m) => concerns(m, vs, { port, gateway: "mesh", ...client })),
    );
    if (i < 0) continue;
    return {
      destinations: weighted(world, vs.spec.tcp![i]!.route, vs.namespace, port),
      source: { ...vs.source, line: vs.line(["spec", "tcp", i]) },
    };
  }
  return null;
}

/** SNI names of VirtualServices that concern this service, in their order. */
function tlsRoutes(
  world: PolicyWorld,
  client: Client,
  service: Service,
  port: number,
  candidates: readonly VirtualService[],
): TlsRouteIr[] {
  return candidates.flatMap((vs) =>
    (vs.spec.tls ?? []).flatMap((route, i) =>
      route.match.flatMap((m): TlsRouteIr[] => {
        if (!concerns(m, vs, { port, gateway: "mesh", ...client })) return [];
        const sniHosts = m.sniHosts.filter(
          (h) => hostMatches(service.host, h) || hostMatches(h, service.host),
        );
        if (sniHosts.length === 0) return [];
        const destinations = weighted(world, route.route, vs.namespace, port);
        return [{ sniHosts, destinations, source: { ...vs.source, line: vs.line(["spec", "tls", i]) } }];
      }),
    ),
  );
}
