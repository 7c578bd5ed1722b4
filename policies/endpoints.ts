import type { EndpointIr } from "#ir/cluster.ts";
import type { ClusterRef } from "#ir/route.ts";
import { ruleFor } from "./destination-rule/resolve.ts";
import { selects, type World } from "./world.ts";

/** The endpoints of one cluster as a client of `clientNamespace` sees it; unready ones included. */
export function endpointsOf(
  world: World,
  cluster: ClusterRef,
  clientNamespace: string,
): readonly EndpointIr[] {
  const service = world.services.find((s) => s.host === cluster.host);
  const all = service?.endpoints.get(cluster.port) ?? [];
  if (service === undefined || cluster.subset === "") return all;
  const subset = ruleFor(world, service, clientNamespace)?.spec.subsets?.find(
    (s) => s.name === cluster.subset,
  );
  return subset === undefined ? [] : all.filter((e) => selects(subset.labels ?? {}, e.labels));
}
