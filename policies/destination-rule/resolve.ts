import type { ClusterIr, ConnectionPoolIr, LoadBalancerIr, OutlierIr, UpstreamTlsIr } from "#ir/cluster.ts";
import { Memo } from "#lib/memo.ts";
import type { Client } from "../client.ts";
import { fullHost, hostMatches } from "../host.ts";
import type { Loaded } from "../load.ts";
import {
  type Instance,
  isExported,
  objectsOf,
  type PolicyWorld,
  type Service,
  type ServicePort,
  selects,
} from "../world.ts";
import type { TrafficPolicySpec } from "./spec.ts";

export type Rule = Loaded<"networking.istio.io/DestinationRule">;
type Policy = Pick<TrafficPolicySpec, "loadBalancer" | "connectionPool" | "outlierDetection" | "tls">;

interface RuleIndex {
  /** Exact host -> rules, oldest first. */
  readonly exact: ReadonlyMap<string, readonly Rule[]>;
  readonly wild: readonly { readonly host: string; readonly rule: Rule }[];
}
const indices = new Memo<RuleIndex>();
function rulesOf(world: PolicyWorld): RuleIndex {
  return indices.get(world.objects, world.mesh.clusterDomain, () => {
    const all = objectsOf(world, "networking.istio.io/DestinationRule").map((rule) => ({
      rule,
      host: fullHost(rule.spec.host, rule.namespace, world),
    }));
    const exact = Map.groupBy(
      all.filter((r) => !r.host.includes("*")),
      (r) => r.host,
    );
    return {
      exact: new Map([...exact].map(([host, list]) => [host, list.map((r) => r.rule)])),
      wild: all.filter((r) => r.host.includes("*")),
    };
  });
}

/** Client's namespace, then the service's, then the root's; exact host before wildcard; the oldest wins. */
export function ruleFor(world: PolicyWorld, service: Service, client: Client): Rule | null {
  const { exact, wild } = rulesOf(world);
  const named = exact.get(service.host) ?? [];
  const patterns = wild.filter((r) => hostMatches(r.host, service.host)).map((r) => r.rule);
  if (named.length + patterns.length === 0) return null;
  for (const ns of [client.namespace, service.namespace, world.mesh.rootNamespace]) {
    const mine = (r: Rule): boolean =>
      r.namespace === ns &&
      isExported(r.spec.exportTo, r.namespace, client.namespace) &&
      (r.spec.workloadSelector === undefined ||
        (r.namespace === client.namespace &&
          selects(r.spec.workloadSelector.matchLabels ?? {}, client.labels)));
    // A rule for chosen clients comes before one for all of them.
    const chosen = (r: Rule): boolean => r.spec.workloadSelector !== undefined && mine(r);
    const found = named.find(chosen) ?? named.find(mine) ?? patterns.find(chosen) ?? patterns.find(mine);
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

const NO_RULE = {};

/** Made from the service, its port and the rule alone: the same objects for all clients whom one rule concerns. */
export function resolveClusters(
  service: Service,
  port: ServicePort,
  rule: Rule | null,
): readonly ClusterIr[] {
  const byPort = perRule.get(service, "", () => new WeakMap());
  let memo = byPort.get(rule ?? NO_RULE);
  if (memo === undefined) {
    memo = new Map();
    byPort.set(rule ?? NO_RULE, memo);
  }
  let found = memo.get(port.number);
  if (found === undefined) {
    found = clustersOf(service, port, rule);
    memo.set(port.number, found);
  }
  return found;
}
const perRule = new Memo<WeakMap<object, Map<number, readonly ClusterIr[]>>>();

function clustersOf(service: Service, port: ServicePort, rule: Rule | null): readonly ClusterIr[] {
  const subsets = ["", ...(rule?.spec.subsets ?? []).map((s) => s.name)];
  const { name, namespace, host } = service;
  const ofService = subsets.map((subset): ClusterIr => {
    const labels = rule?.spec.subsets?.find((s) => s.name === subset)?.labels ?? {};
    return cluster(service, port, rule, {
      host,
      subset,
      service: { name, namespace },
      identities: service.identities[port.number] ?? [],
      endpoints:
        service.resolution === "none"
          ? { kind: "original-destination" }
          : service.resolution === "eds"
            ? { kind: "eds", labels }
            : {
                kind: service.resolution,
                endpoints: (service.inline[port.number] ?? []).filter((e) => selects(labels, e.labels)),
              },
    });
  });
  const ofInstances = instancesAt(service, port).map((instance): ClusterIr => {
    const { endpoint } = instance;
    return cluster(service, port, rule, {
      host: instanceHost(service, instance),
      subset: "",
      service: { name, namespace, host },
      identities: endpoint.workload === null ? [] : [endpoint.workload.identity],
      endpoints: { kind: "static", endpoints: [endpoint] },
    });
  });
  return [...ofService, ...ofInstances];
}

/** HTTP knows a pod by its name in the Host header, other protocols by its address. */
export function instancesAt(service: Service, port: ServicePort): readonly Instance[] {
  const all = service.instances[port.number] ?? [];
  const http = port.protocol === "http" || port.protocol === "http2" || port.protocol === "grpc";
  return http ? all.filter((i) => i.named) : all;
}

/** Of one pod of a headless service: the name by which all its clusters and tables go. */
export function instanceHost(service: Service, instance: Instance): string {
  return `${instance.name}.${service.host}`;
}

interface Own extends Pick<ClusterIr, "host" | "subset" | "service" | "endpoints"> {
  readonly identities: readonly string[];
}

function cluster(service: Service, port: ServicePort, rule: Rule | null, own: Own): ClusterIr {
  const policy = effective(rule, own.subset, port.number);
  return {
    host: own.host,
    port: port.number,
    subset: own.subset,
    service: own.service,
    protocol: port.protocol,
    endpoints: own.endpoints,
    lb: lb(policy),
    tls: tls(policy, service, port, own),
    pool: pool(policy),
    outlier: outlier(policy),
    external: service.external,
    selectsPods: service.selector !== null,
    source: rule === null ? null : rule.source,
  };
}

const LB: Readonly<Record<string, "least-request" | "round-robin" | "random" | "passthrough">> = {
  ROUND_ROBIN: "round-robin",
  RANDOM: "random",
  PASSTHROUGH: "passthrough",
};
function lb(policy: Policy): LoadBalancerIr {
  return { kind: LB[policy.loadBalancer?.simple ?? ""] ?? "least-request" };
}

function tls(policy: Policy, service: Service, port: ServicePort, own: Own): UpstreamTlsIr {
  const { subset, host, identities } = own;
  const sans = [...new Set(service.sans.length > 0 ? service.sans : identities)].sort();
  const sniName = `outbound_.${port.number}_.${subset}_.${host}`;
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
