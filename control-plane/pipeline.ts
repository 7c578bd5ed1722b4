import { create } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import type { ClusterIr, WorkloadIr } from "#ir/index.ts";
import { Memo } from "#lib/memo.ts";
import {
  buildWorld,
  endpointsOf,
  type Loaded,
  type MeshSettings,
  resolve,
  type Workload,
  type World,
} from "#policies/index.ts";
import { type PackedResource, type ResourceSet, TYPE } from "#xds/index.ts";
import type { Config } from "./config.ts";
import { overlay } from "./sources/applied.ts";
import {
  clusterName,
  type Resource,
  type Unwritten,
  type WriteContext,
  write,
  writeEndpoints,
} from "./write/index.ts";

/**
 * The map of the control plane: objects -> world -> resolve -> write -> what serve hands to each proxy. Pure; every
 * result is kept with the objects that it was made from, so that a change costs what it touches.
 */
export function toWorld(objects: readonly Loaded[], config: Config, before: World | null = null): World {
  const mesh: MeshSettings = {
    trustDomain: config.trustDomain,
    rootNamespace: config.rootNamespace,
    outboundMode: config.outboundTrafficPolicy,
    clusterDomain: "cluster.local",
  };
  return buildWorld(overlay(objects, config.platform), mesh, before);
}

export interface ProxyNode {
  readonly ip: string;
  readonly namespace: string;
  /** As its token proved; null where nobody has to prove anything. */
  readonly serviceAccount: string | null;
  readonly flavour: WriteContext["flavour"];
}

/** What there is for one proxy. */
export interface Configuration {
  readonly resources: ResourceSet;
  /** What should be in it and could not be written. */
  readonly unwritten: readonly Unwritten[];
}

/** All resources of the proxy at `ip` in `namespace`; null when the platform knows no such pod of that account. */
export function resourcesFor(world: World, node: ProxyNode, config: Config): Configuration | null {
  const workload = workloadAt(world, node);
  if (workload === undefined) return null;
  // The address is only what the proxy says of itself.
  if (node.serviceAccount !== null && node.serviceAccount !== workload.serviceAccount) return null;
  return configure(world, workload, node.flavour, config);
}

export function workloadAt(world: World, { namespace, ip }: ProxyNode): Workload | undefined {
  return byAddress
    .get(world.workloads, "", () => new Map(world.workloads.map((w) => [`${w.namespace}/${w.ip}`, w])))
    .get(`${namespace}/${ip}`);
}

function configure(
  world: World,
  workload: Workload,
  flavour: WriteContext["flavour"],
  config: Config,
): Configuration {
  const ir = resolve(world, workload);
  const { packs, unwritten } = described.get(ir, flavour, () => {
    const writing = write(ir, contextOf(config, flavour));
    return { packs: pack(writing.resources), unwritten: writing.unwritten };
  });
  const endpoints = endpointsFor(world, ir);
  return {
    resources: new Map([...packs, [TYPE.endpoints, endpoints.map]]),
    unwritten: endpoints.unwritten.length === 0 ? unwritten : [...unwritten, ...endpoints.unwritten],
  };
}
const byAddress = new Memo<ReadonlyMap<string, Workload>>();
/** Clusters, listeners and routes of one IR: untouched by endpoints. */
const described = new Memo<{ readonly packs: ResourceSet; readonly unwritten: readonly Unwritten[] }>();

const contexts = new Memo<WriteContext>();
function contextOf(config: Config, flavour: WriteContext["flavour"]): WriteContext {
  return contexts.get(config, flavour, () => ({
    flavour,
    accessLog: config.accessLog,
    traceSampling: config.traceSampling,
    otlpPath: config.listen.otlp?.replace(/^unix:/, "") ?? null,
    trustDomain: config.trustDomain,
  }));
}

interface Endpoints {
  readonly map: ReadonlyMap<string, PackedResource>;
  readonly unwritten: readonly Unwritten[];
}
const endpointMaps = new WeakMap<World, WeakMap<readonly ClusterIr[], Endpoints>>();
const assignments = new Memo<PackedResource>();

/** One map for all proxies that have the same clusters. */
function endpointsFor(world: World, ir: WorkloadIr): Endpoints {
  let ofWorld = endpointMaps.get(world);
  if (ofWorld === undefined) {
    ofWorld = new WeakMap();
    endpointMaps.set(world, ofWorld);
  }
  let found = ofWorld.get(ir.clusters);
  if (found === undefined) {
    const map = new Map<string, PackedResource>();
    const unwritten: Unwritten[] = [];
    for (const cluster of ir.clusters) {
      if (cluster.endpoints.kind !== "eds") continue;
      const name = clusterName(cluster);
      const endpoints = endpointsOf(world, cluster);
      try {
        map.set(
          name,
          assignments.get(endpoints, name, () => packed(writeEndpoints(name, endpoints))),
        );
      } catch (error) {
        const sources = cluster.source === null ? [] : [cluster.source];
        const reason = (error as Error).message;
        unwritten.push({ typeUrl: TYPE.endpoints, name, reason, sources, host: null });
      }
    }
    found = { map, unwritten };
    ofWorld.set(ir.clusters, found);
  }
  return found;
}

const packs = new WeakMap<Resource, PackedResource>();
export function packed(r: Resource): PackedResource {
  let found = packs.get(r);
  if (found === undefined) {
    found = new Packed(r);
    packs.set(r, found);
  }
  return found;
}

/** The Any is made when it is sent: what differs between proxies by a few bytes shares the rest until then. */
class Packed implements PackedResource {
  readonly #resource: Resource;
  readonly name: string;
  readonly version: string;
  constructor(r: Resource) {
    this.#resource = r;
    this.name = r.name;
    this.version = r.version;
  }
  get any() {
    return create(AnySchema, { typeUrl: this.#resource.typeUrl, value: this.#resource.bytes });
  }
}

function pack(resources: readonly Resource[]): Map<string, Map<string, PackedResource>> {
  const set = new Map<string, Map<string, PackedResource>>();
  for (const r of resources) {
    const byName = set.get(r.typeUrl) ?? new Map<string, PackedResource>();
    set.set(r.typeUrl, byName);
    byName.set(r.name, packed(r));
  }
  return set;
}
