/** Picks a host: priority level, panic, then the policy (Envoy load balancing; overprovisioning factor 1.4). */
import type { Cluster, Host, UpstreamTls } from "../snapshot.ts";

export interface PickOptions {
  /** Hosts a retry should avoid, if there are others. */
  readonly avoid?: readonly Host[];
  /** In [0, 1). */
  readonly random?: () => number;
  readonly nowMs?: number;
}

/** Round-robin positions outlive snapshots; keyed by cluster name. */
const cursors = new Map<string, number>();

export function pickHost(cluster: Cluster, options: PickOptions = {}): Host | null {
  const random = options.random ?? Math.random;
  const now = options.nowMs ?? performance.now();
  let candidates = candidatesOf(cluster, now, random);
  if (options.avoid !== undefined && options.avoid.length > 0) {
    const others = candidates.filter((host) => !options.avoid?.includes(host));
    if (others.length > 0) candidates = others;
  }
  if (candidates.length <= 1) return candidates[0] ?? null;
  if (cluster.lbPolicy === "LEAST_REQUEST")
    return leastRequest(candidates, cluster.leastRequestChoices, random);
  if (cluster.lbPolicy === "ROUND_ROBIN") return roundRobin(cluster.name, candidates);
  return weighted(candidates, random);
}

export function isHealthy(host: Host, nowMs: number): boolean {
  return host.ejectedUntilMs <= nowMs && (host.health === "HEALTHY" || host.health === "UNKNOWN");
}

function candidatesOf(cluster: Cluster, now: number, random: () => number): readonly Host[] {
  const levels = cluster.priorities.length > 0 ? cluster.priorities : [cluster.hosts];
  const healthy = levels.map((level) => level.filter((host) => isHealthy(host, now)));
  // Each level takes the share that its healthy hosts can bear, the next one what is left.
  const shares = levels.map((level, i) =>
    level.length === 0
      ? 0
      : Math.min(100, ((healthy[i]?.length ?? 0) / level.length) * cluster.overprovisioningFactor),
  );
  const total = Math.min(
    100,
    shares.reduce((sum, share) => sum + share, 0),
  );
  let chosen = levels.findIndex((level) => level.length > 0);
  if (total > 0) {
    let draw = random() * total;
    for (let i = 0; i < shares.length; i++) {
      const share = shares[i] ?? 0;
      if (share > 0 && draw < share) {
        chosen = i;
        break;
      }
      draw -= share;
    }
  }
  const level = levels[chosen] ?? [];
  const good = healthy[chosen] ?? [];
  const percent = level.length === 0 ? 0 : (good.length / level.length) * 100;
  // Panic: with this few healthy hosts all get traffic, rather than the few breaking down.
  if (total < 100 && percent < cluster.healthyPanicThreshold)
    return level.filter((host) => host.health !== "DRAINING");
  if (good.length > 0) return good;
  return level.filter((host) => host.health === "DEGRADED" && host.ejectedUntilMs <= now);
}

/** Power of two choices; with unequal weights the load is taken per weight. */
function leastRequest(hosts: readonly Host[], choices: number, random: () => number): Host | null {
  const equal = hosts.every((host) => host.weight === hosts[0]?.weight);
  let best: Host | null = null;
  for (let i = 0; i < Math.max(1, choices); i++) {
    const host = equal ? (hosts[Math.floor(random() * hosts.length)] ?? null) : weighted(hosts, random);
    if (host !== null && (best === null || host.activeRequests < best.activeRequests)) best = host;
  }
  return best;
}

function roundRobin(name: string, hosts: readonly Host[]): Host | null {
  const total = hosts.reduce((sum, host) => sum + host.weight, 0);
  const position = (cursors.get(name) ?? 0) % total;
  cursors.set(name, position + 1);
  if (total === hosts.length) return hosts[position] ?? null;
  let left = position;
  for (const host of hosts) {
    left -= host.weight;
    if (left < 0) return host;
  }
  return null;
}

function weighted(hosts: readonly Host[], random: () => number): Host | null {
  let draw = random() * hosts.reduce((sum, host) => sum + host.weight, 0);
  for (const host of hosts) {
    draw -= host.weight;
    if (draw < 0) return host;
  }
  return hosts.at(-1) ?? null;
}

/** transport_socket_matches: first whose labels the endpoint has all; `{}` matches every one. null = raw. */
export function chooseTransport(
  cluster: Cluster,
  host: Host | null,
): { readonly name: string; readonly tls: UpstreamTls | null } {
  for (const candidate of cluster.transportSocketMatches) {
    let all = true;
    for (const key in candidate.match)
      if (host?.transportSocketMetadata[key] !== candidate.match[key]) all = false;
    if (all) return candidate;
  }
  return { name: "", tls: cluster.transportSocket };
}
