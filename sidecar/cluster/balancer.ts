// hot path
/** Picks a host: priority level, panic, then the policy (Envoy load balancing; overprovisioning factor 1.4). */
import type { Cluster, Host, UpstreamTls } from "../snapshot.ts";

/** Round-robin positions outlive snapshots; keyed by cluster name. */
const cursors = new Map<string, number>();
const NONE: readonly Host[] = [];

/** In [0, 1). */
type Random = () => number;

/** @param avoid hosts that a retry should avoid, if there are others. */
export function pickHost(
  cluster: Cluster,
  avoid: readonly Host[] = NONE,
  random: Random = Math.random,
): Host | null {
  const only = cluster.priorities.length === 1 ? cluster.priorities[0]! : cluster.hosts;
  // The usual case needs no list of its own: one level, everyone well, nobody to avoid.
  let candidates = cluster.priorities.length <= 1 && allHealthy(only) ? only : candidatesOf(cluster, random);
  if (avoid.length > 0) candidates = without(candidates, avoid);
  if (candidates.length <= 1) return candidates[0] ?? null;
  if (cluster.lbPolicy === "LEAST_REQUEST")
    return leastRequest(candidates, cluster.leastRequestChoices, random);
  if (cluster.lbPolicy === "ROUND_ROBIN") return roundRobin(cluster.name, candidates);
  return weighted(candidates, random);
}

function allHealthy(hosts: readonly Host[]): boolean {
  for (let i = 0; i < hosts.length; i++) {
    const host = hosts[i]!;
    if (host.ejectedUntilMs !== 0 || (host.health !== "HEALTHY" && host.health !== "UNKNOWN")) return false;
  }
  return true;
}

function without(hosts: readonly Host[], avoid: readonly Host[]): readonly Host[] {
  const others = hosts.filter((host) => !avoid.includes(host)); // cold: retries only
  return others.length > 0 ? others : hosts;
}

/** By EDS health and ejection; `nowMs` is monotonic. */
export function isHealthy(host: Host, nowMs: number): boolean {
  return host.ejectedUntilMs <= nowMs && (host.health === "HEALTHY" || host.health === "UNKNOWN");
}

function candidatesOf(cluster: Cluster, random: Random): readonly Host[] {
  const now = performance.now();
  const levels = cluster.priorities.length > 0 ? cluster.priorities : [cluster.hosts];
  const healthy: Host[][] = [];
  // Each level takes the share that its healthy hosts can bear, the next one what is left.
  const shares: number[] = [];
  let total = 0;
  let chosen = 0;
  for (const level of levels) {
    const well: Host[] = [];
    for (const host of level) if (isHealthy(host, now)) well.push(host);
    const share =
      level.length === 0 ? 0 : Math.min(100, (well.length / level.length) * cluster.overprovisioningFactor);
    healthy.push(well);
    shares.push(share);
    total += share;
  }
  total = Math.min(100, total);
  while (chosen < levels.length - 1 && levels[chosen]!.length === 0) chosen++;
  if (total > 0) {
    let draw = random() * total;
    for (let i = 0; i < shares.length; i++) {
      const share = shares[i]!;
      if (share > 0 && draw < share) {
        chosen = i;
        break;
      }
      draw -= share;
    }
  }
  const level = levels[chosen] ?? NONE;
  const good = healthy[chosen] ?? NONE;
  const percent = level.length === 0 ? 0 : (good.length / level.length) * 100;
  // Panic: with this few healthy hosts all get traffic, rather than the few breaking down.
  if (total < 100 && percent < cluster.healthyPanicThreshold)
    return level.filter((host) => host.health !== "DRAINING"); // cold: panic
  if (good.length > 0) return good;
  return level.filter((host) => host.health === "DEGRADED" && host.ejectedUntilMs <= now); // cold: no healthy host
}

/** Power of two choices; with unequal weights the load is taken per weight. */
function leastRequest(hosts: readonly Host[], choices: number, random: Random): Host | null {
  const equal = equalWeights(hosts);
  let best: Host | null = null;
  for (let i = 0; i < Math.max(1, choices); i++) {
    const host = equal ? hosts[Math.floor(random() * hosts.length)]! : weighted(hosts, random);
    if (host !== null && (best === null || host.activeRequests < best.activeRequests)) best = host;
  }
  return best;
}

function equalWeights(hosts: readonly Host[]): boolean {
  const { weight } = hosts[0]!;
  for (let i = 1; i < hosts.length; i++) if (hosts[i]!.weight !== weight) return false;
  return true;
}

function totalWeight(hosts: readonly Host[]): number {
  let total = 0;
  for (let i = 0; i < hosts.length; i++) total += hosts[i]!.weight;
  return total;
}

function roundRobin(name: string, hosts: readonly Host[]): Host | null {
  const total = totalWeight(hosts);
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

function weighted(hosts: readonly Host[], random: Random): Host | null {
  let draw = random() * totalWeight(hosts);
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
