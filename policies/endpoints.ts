import type { ClusterIr, EndpointIr } from "#ir/cluster.ts";
import { Memo } from "#lib/memo.ts";
import { selects, type World } from "./world.ts";

const NONE: readonly EndpointIr[] = [];
const subsets = new Memo<readonly EndpointIr[]>();

/** The endpoints of an EDS cluster, unready ones included: the same array for as long as they do not change. */
export function endpointsOf(world: World, cluster: ClusterIr): readonly EndpointIr[] {
  const all = world.endpoints.get(cluster.host)?.get(cluster.port) ?? NONE;
  if (cluster.endpoints.kind !== "eds" || cluster.subset === "") return all;
  const { labels } = cluster.endpoints;
  return subsets.get(all, JSON.stringify(labels), () => all.filter((e) => selects(labels, e.labels)));
}
