import type { ClusterIr, ConnectionPoolIr, LoadBalancerIr, OutlierIr, UpstreamTlsIr } from "#ir/cluster.ts";
import { fullHost, hostMatches } from "../host.ts";
import type { Loaded } from "../load.ts";
import { objectsOf, type Service, type ServicePort, selects, type World } from "../world.ts";
import type { TrafficPolicySpec } from "./spec.ts";

export type Rule = Loaded<"networking.istio.io/DestinationRule">;
type Policy = Pick<TrafficPolicySpec, "loadBalancer" | "connectionPool" | "outlierDetection" | "tls">;

/** Client's namespace, then the service's, then the root's; exact host before wildcard; the oldest wins. */
export function ruleFor(world: World, service: Service, clientNamespace: string): Rule | null {
  const rules = objectsOf(world, "networking.istio.io/DestinationRule");
  for (const ns of [clientNamespace, service.namespace, world.mesh.rootNamespace]) {
    const here = rules.filter((r) => r.namespace === ns);
    const host = (r: Rule) => fullHost(r.spec.host, r.namespace, world);
    const found =
      here.find((r) => host(r) === service.host) ?? here.find((r) => hostMatches(host(r), service.host));
    if (found) return found;
  }
  return null;
}

/** Port settings replace the destination's as a whole; a subset's fields override the rule's one by one. */
function effective(rule: Rule | null, subset: string, port: number): Policy {
  const at = (p: TrafficPolicySpec | undefined): { policy: Policy; byPort: boolean } => {
    const own = p?.portLevelSettings?.find((s) => s.port.number === port);
    return own ? { policy: own, byPort: true } : { policy: p ?? ({} as Policy), byPort: false };
  };
  const base = at(rule?.spec.trafficPolicy).policy;
  const own = at(rule?.spec.subsets?.find((s) => s.name === subset)?.trafficPolicy);
  if (own.byPort) return own.policy;
  return {
    loadBalancer: own.policy.loadBalancer ?? base.loadBalancer,
    connectionPool: own.policy.connectionPool ?? base.connectionPool,
    outlierDetection: own.policy.outlierDetection ?? base.outlierDetection,
    tls: own.policy.tls ?? base.tls,
  };
}

export function resolveClusters(
  world: World,
  service: Service,
  port: ServicePort,
  clientNamespace: string,
): ClusterIr[] {
  const rule = ruleFor(world, service, clientNamespace);
  const subsets = ["", ...(rule?.spec.subsets ?? []).map((s) => s.name)];
  return subsets.map((subset) => {
    const policy = effective(rule, subset, port.number);
    const endpoints = service.endpoints.get(port.number) ?? [];
    const labels = rule?.spec.subsets?.find((s) => s.name === subset)?.labels ?? {};
    const passthrough = service.resolution === "none" || (service.headless && port.protocol === "tcp");
    return {
      host: service.host,
      port: port.number,
      subset,
      service: { name: service.name, namespace: service.namespace },
      protocol: port.protocol,
      endpoints:
        service.resolution === "eds" && !passthrough
          ? { kind: "eds" }
          : service.resolution === "none" || passthrough || service.resolution === "eds"
            ? { kind: "original-destination" }
            : { kind: service.resolution, endpoints: endpoints.filter((e) => selects(labels, e.labels)) },
      lb: lb(policy),
      tls: tls(policy, service, port, subset),
      pool: pool(policy),
      outlier: outlier(policy),
      external: service.external,
      source: rule === null ? null : rule.source,
    } satisfies ClusterIr;
  });
}

const LB: Readonly<Record<string, "least-request" | "round-robin" | "random" | "passthrough">> = {
  ROUND_ROBIN: "round-robin",
  RANDOM: "random",
  PASSTHROUGH: "passthrough",
};
function lb(policy: Policy): LoadBalancerIr {
  return { kind: LB[policy.loadBalancer?.simple ?? ""] ?? "least-request" };
}

function tls(policy: Policy, service: Service, port: ServicePort, subset: string): UpstreamTlsIr {
  const endpoints = service.endpoints.get(port.number) ?? [];
  // Ready or not: the set must not change when a pod's readiness flaps.
  const identities = endpoints.flatMap((e) => (e.workload === null ? [] : [e.workload.identity]));
  const sans = [...new Set(service.sans.length > 0 ? service.sans : identities)].sort();
  const sniName = `outbound_.${port.number}_.${subset}_.${service.host}`;
  const given = policy.tls;
  switch (given?.mode) {
    case "DISABLE":
      return { kind: "plain" };
    case "ISTIO_MUTUAL":
      return { kind: "mutual", sans: given.subjectAltNames ?? sans, sni: given.sni ?? sniName };
    case "SIMPLE":
      return {
        kind: "simple",
        sni: given.sni ?? (service.host.startsWith("*") ? null : service.host),
        sans: given.subjectAltNames ?? service.sans,
        caFile: given.caCertificates ?? null,
        insecureSkipVerify: given.insecureSkipVerify ?? false,
      };
    default:
      return service.external || service.resolution === "none"
        ? { kind: "plain" }
        : { kind: "auto", sans, sni: sniName };
  }
}

function pool(policy: Policy): ConnectionPoolIr | null {
  const p = policy.connectionPool;
  if (p === undefined) return null;
  const keepalive = p.tcp?.tcpKeepalive;
  return {
    maxConnections: p.tcp?.maxConnections ?? null,
    connectTimeoutMs: p.tcp?.connectTimeout ?? null,
    tcpIdleTimeoutMs: p.tcp?.idleTimeout ?? null,
    maxConnectionDurationMs: p.tcp?.maxConnectionDuration ?? null,
    keepalive: keepalive
      ? {
          probes: keepalive.probes ?? null,
          timeMs: keepalive.time ?? null,
          intervalMs: keepalive.interval ?? null,
        }
      : null,
    maxPendingRequests: p.http?.http1MaxPendingRequests ?? null,
    maxRequests: p.http?.http2MaxRequests ?? null,
    maxRequestsPerConnection: p.http?.maxRequestsPerConnection ?? null,
    maxRetries: p.http?.maxRetries ?? null,
    httpIdleTimeoutMs: p.http?.idleTimeout ?? null,
    maxConcurrentStreams: p.http?.maxConcurrentStreams ?? null,
    upgradeToHttp2: p.http?.h2UpgradePolicy === "UPGRADE",
  };
}

function outlier(policy: Policy): OutlierIr | null {
  const o = policy.outlierDetection;
  if (o === undefined) return null;
  return {
    consecutive5xx: o.consecutive5xxErrors ?? null,
    consecutiveGatewayErrors: o.consecutiveGatewayErrors ?? null,
    splitLocalOriginErrors: o.splitExternalLocalOriginErrors ?? false,
    consecutiveLocalOriginFailures: o.consecutiveLocalOriginFailures ?? null,
    intervalMs: o.interval ?? null,
    baseEjectionMs: o.baseEjectionTime ?? null,
    maxEjectionPercent: o.maxEjectionPercent ?? null,
    minHealthPercent: o.minHealthPercent ?? 0,
  };
}
