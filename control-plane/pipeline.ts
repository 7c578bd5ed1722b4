import { join, sep } from "node:path";
import { create } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import {
  buildWorld,
  endpointsOf,
  type Loaded,
  type MeshSettings,
  resolve,
  type World,
} from "#policies/index.ts";
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
  return buildWorld(overlay(objects, config), mesh);
}

/** Where objects from `weft apply` are kept. */
export const appliedDir = (config: Config): string => join(config.stateDir, "applied");

/** An applied object hides those of the same name from `paths`; what the platform says stands. */
function overlay(objects: readonly Loaded[], config: Config): readonly Loaded[] {
  const prefix = appliedDir(config) + sep;
  const isApplied = (o: Loaded) => o.source.file.startsWith(prefix);
  const id = (o: Loaded) => JSON.stringify([o.key, o.namespace, o.name]);
  const applied = new Set(objects.filter(isApplied).map(id));
  return objects.filter((o) => isApplied(o) || o.source.file === config.platform || !applied.has(id(o)));
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
    resources.push(writeEndpoints(clusterName(cluster), endpointsOf(world, cluster, workload.namespace)));
  }
  return pack(resources);
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
