import { create } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { buildWorld, type Loaded, type MeshSettings, resolve, type World } from "#policies/index.ts";
import type { PackedResource, ResourceSet } from "#xds/index.ts";
import type { Config } from "./config.ts";
import { clusterName, type Resource, type WriteContext, write, writeEndpoints } from "./write/index.ts";

/** The map of the control plane: objects -> world -> resolve -> write -> what serve hands to each proxy. Pure. */
export function toWorld(objects: readonly Loaded[], config: Config): World {
  const mesh: MeshSettings = {
    trustDomain: config.trustDomain,
    rootNamespace: config.rootNamespace,
    outboundMode: config.outboundTrafficPolicy,
    clusterDomain: "cluster.local",
  };
  return buildWorld(objects, mesh);
}

/** All resources of the proxy at `ip` in `namespace`; null when the platform knows no such pod. */
export function resourcesFor(
  world: World,
  node: { readonly ip: string; readonly namespace: string; readonly flavour: WriteContext["flavour"] },
  config: Config,
): ResourceSet | null {
  const workload = world.workloads.find((w) => w.ip === node.ip && w.namespace === node.namespace);
  if (workload === undefined) return null;
  const ir = resolve(world, workload);
  const context: WriteContext = {
    flavour: node.flavour,
    accessLog: config.accessLog,
    traceSampling: config.traceSampling,
    otlpPath: config.listen.otlp?.replace(/^unix:/, "") ?? null,
    trustDomain: config.trustDomain,
  };
  const resources = write(ir, context);
  for (const cluster of ir.clusters) {
    if (cluster.endpoints.kind !== "eds") continue;
    const service = world.services.find((s) => s.host === cluster.host);
    const subset = subsetLabels(world, cluster.host, cluster.subset);
    const endpoints = (service?.endpoints.get(cluster.port) ?? []).filter((e) =>
      Object.entries(subset).every(([k, v]) => e.labels[k] === v),
    );
    resources.push(writeEndpoints(clusterName(cluster), endpoints));
  }
  return pack(resources);
}

/** Labels of a DestinationRule's subset; a subset nobody defines selects nothing. */
function subsetLabels(world: World, host: string, subset: string): Readonly<Record<string, string>> {
  if (subset === "") return {};
  for (const object of world.objects) {
    if (object.key !== "networking.istio.io/DestinationRule") continue;
    const spec = object.spec as {
      host: string;
      subsets?: readonly { name: string; labels?: Readonly<Record<string, string>> }[];
    };
    const full = spec.host.includes(".") ? spec.host : `${spec.host}.${object.namespace}.svc.cluster.local`;
    const found = full === host ? spec.subsets?.find((s) => s.name === subset) : undefined;
    if (found !== undefined) return found.labels ?? {};
  }
  return { "weft.dev/undefined-subset": subset };
}

function pack(resources: readonly Resource[]): ResourceSet {
  const set = new Map<string, Map<string, PackedResource>>();
  for (const r of resources) {
    const byName = set.get(r.typeUrl) ?? new Map<string, PackedResource>();
    set.set(r.typeUrl, byName);
    byName.set(r.name, {
      name: r.name,
      version: r.version,
      any: create(AnySchema, { typeUrl: r.typeUrl, value: r.bytes }),
    });
  }
  return set;
}
