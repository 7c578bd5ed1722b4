import type { RouteAction, WeightedCluster } from "../snapshot.ts";

/** Chooses by weight. @param random in [0, 1) */
export function pickCluster(
  action: Pick<RouteAction, "clusters" | "totalWeight">,
  random: number,
): WeightedCluster | null {
  const { clusters } = action;
  if (clusters.length <= 1) return clusters[0] ?? null;
  let left = random * action.totalWeight;
  for (const cluster of clusters) {
    left -= cluster.weight;
    if (left < 0) return cluster;
  }
  return null;
}
