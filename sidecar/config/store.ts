/**
 * Keeps the last good form of every xDS resource and publishes Snapshots. A listener goes live when its route
 * configurations are here, or after a bounded wait (then it answers 404); until then its previous version serves.
 */

import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import { type Clock, systemClock } from "#lib/clock.ts";
import { ClusterSchema } from "#xds/gen/envoy/config/cluster/v3/cluster_pb.js";
import {
  type ClusterLoadAssignment,
  ClusterLoadAssignmentSchema,
} from "#xds/gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { ListenerSchema } from "#xds/gen/envoy/config/listener/v3/listener_pb.js";
import { RouteConfigurationSchema } from "#xds/gen/envoy/config/route/v3/route_pb.js";
import { TYPE } from "#xds/index.ts";
import { type HostSet, NO_HOSTS, updateHosts } from "../cluster/hosts.ts";
import type { RouteTable } from "../route/table.ts";
import type { Cluster, FilterChain, Listener, Snapshot } from "../snapshot.ts";
import { type DecodedCluster, decodeCluster } from "./decode/cluster.ts";
import { decodeListener, digest, makeListener } from "./decode/listener.ts";
import { Problems } from "./decode/problems.ts";
import { decodeRoutes } from "./decode/route.ts";

export interface ResourceUpdate {
  readonly typeUrl: string;
  readonly resources: readonly Any[];
  readonly removed?: readonly string[];
  /** State of the world (CDS and LDS only): what is not listed is removed. */
  readonly full?: boolean;
}

export interface RefusedResource {
  /** Position in the update's `resources`. */
  readonly index: number;
  /** As the resource calls itself; its type URL if it does not parse. */
  readonly name: string;
  /** Every error with its field's path, joined with "; ". */
  readonly message: string;
}

export interface UpdateResult {
  /** Empty = ACK. */
  readonly refused: readonly RefusedResource[];
  readonly warnings: readonly string[];
}

export class ConfigStore {
  #snapshot: Snapshot = makeSnapshot(0, new Map(), new Map(), new Map());
  readonly #clusters = new Map<string, DecodedCluster & { hash: string }>();
  readonly #hosts = new Map<string, HostSet>();
  readonly #inlineHosts = new Map<string, HostSet>();
  readonly #routes = new Map<string, RouteTable>();
  readonly #wanted = new Map<string, Listener>();
  readonly #live = new Map<string, Listener>();
  /** What the last snapshot holds: an unchanged resource keeps its object, and costs nothing to publish again. */
  readonly #clusterForms = new Map<string, Cluster>();
  readonly #listenerForms = new Map<string, Listener>();
  readonly #changedClusters = new Set<string>();
  readonly #changedListeners = new Set<string>();
  /** EDS service name -> clusters that it fills, and RDS name -> listeners that it routes for. */
  readonly #clustersOf = new Map<string, Set<string>>();
  readonly #listenersOf = new Map<string, Set<string>>();
  readonly #waiting = new Map<string, () => void>();
  readonly #overdue = new Set<string>();
  readonly #clock: Clock;
  readonly #warmMs: number;
  readonly #subscribers: ((snapshot: Snapshot) => void)[] = [];

  constructor(options: { clock?: Clock; warmMs?: number } = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#warmMs = options.warmMs ?? 15_000;
  }

  get current(): Snapshot {
    return this.#snapshot;
  }

  /** Called after each publication. */
  subscribe(run: (snapshot: Snapshot) => void): void {
    this.#subscribers.push(run);
  }

  /** Good resources of the update are taken and published together, bad ones keep their last good form. */
  update(update: ResourceUpdate): UpdateResult {
    const refused: RefusedResource[] = [];
    const warnings: string[] = [];
    const names = new Set<string>();
    for (const [index, any] of update.resources.entries()) {
      const problems = new Problems();
      const name = this.#take(update.typeUrl, any, problems);
      names.add(name);
      if (problems.errors.length > 0) refused.push({ index, name, message: problems.errors.join("; ") });
      warnings.push(...problems.warnings.map((w) => `${name}: ${w}`));
    }
    const removed = [...(update.removed ?? [])];
    if (update.full === true)
      removed.push(...this.#namesOf(update.typeUrl).filter((name) => !names.has(name)));
    for (const name of removed) this.#remove(update.typeUrl, name);
    this.#publish();
    return { refused, warnings };
  }

  #take(typeUrl: string, any: Any, problems: Problems): string {
    try {
      switch (typeUrl) {
        case TYPE.cluster: {
          const wire = fromBinary(ClusterSchema, any.value);
          const decoded = decodeCluster(wire, problems);
          if (problems.errors.length === 0) {
            this.#forgetCluster(wire.name);
            this.#clusters.set(wire.name, { ...decoded, hash: digest(toBinary(ClusterSchema, wire)) });
            link(this.#clustersOf, decoded.cluster.edsServiceName, wire.name);
            this.#changedClusters.add(wire.name);
            if (decoded.inline !== null)
              this.#inlineHosts.set(
                wire.name,
                updateHosts(this.#inlineHosts.get(wire.name) ?? NO_HOSTS, decoded.inline),
              );
            else this.#inlineHosts.delete(wire.name);
          }
          return wire.name;
        }
        case TYPE.endpoints: {
          const wire: ClusterLoadAssignment = fromBinary(ClusterLoadAssignmentSchema, any.value);
          this.#hosts.set(wire.clusterName, updateHosts(this.#hosts.get(wire.clusterName) ?? NO_HOSTS, wire));
          touch(this.#changedClusters, this.#clustersOf.get(wire.clusterName));
          return wire.clusterName;
        }
        case TYPE.listener: {
          const wire = fromBinary(ListenerSchema, any.value);
          const listener = decodeListener(wire, problems);
          if (problems.errors.length === 0) {
            this.#forgetListener(wire.name);
            this.#wanted.set(wire.name, listener);
            for (const route of routeNames(listener)) link(this.#listenersOf, route, wire.name);
            this.#changedListeners.add(wire.name);
          }
          return wire.name;
        }
        case TYPE.route: {
          const wire = fromBinary(RouteConfigurationSchema, any.value);
          const table = decodeRoutes(wire, problems);
          if (problems.errors.length === 0) {
            this.#routes.set(wire.name, table);
            touch(this.#changedListeners, this.#listenersOf.get(wire.name));
          }
          return wire.name;
        }
      }
      problems.error(`resources of type ${typeUrl} are not understood`);
    } catch (error) {
      problems.error(`cannot parse: ${error instanceof Error ? error.message : error}`);
    }
    return any.typeUrl;
  }

  #namesOf(typeUrl: string): string[] {
    if (typeUrl === TYPE.cluster) return [...this.#clusters.keys()];
    if (typeUrl === TYPE.listener) return [...this.#wanted.keys()];
    return [];
  }

  #remove(typeUrl: string, name: string): void {
    if (typeUrl === TYPE.cluster) {
      this.#forgetCluster(name);
      this.#clusters.delete(name);
      this.#inlineHosts.delete(name);
      this.#clusterForms.delete(name);
    } else if (typeUrl === TYPE.endpoints) {
      for (const host of this.#hosts.get(name)?.hosts ?? []) host.removed = true;
      this.#hosts.delete(name);
      touch(this.#changedClusters, this.#clustersOf.get(name));
    } else if (typeUrl === TYPE.route) {
      this.#routes.delete(name);
      touch(this.#changedListeners, this.#listenersOf.get(name));
    } else if (typeUrl === TYPE.listener) {
      this.#forgetListener(name);
      this.#wanted.delete(name);
      this.#live.delete(name);
      this.#listenerForms.delete(name);
      this.#waiting.get(name)?.();
      this.#waiting.delete(name);
      this.#overdue.delete(name);
    }
  }

  #forgetCluster(name: string): void {
    const service = this.#clusters.get(name)?.cluster.edsServiceName;
    if (service) this.#clustersOf.get(service)?.delete(name);
  }

  #forgetListener(name: string): void {
    const listener = this.#wanted.get(name);
    if (listener !== undefined)
      for (const route of routeNames(listener)) this.#listenersOf.get(route)?.delete(name);
  }

  #publish(): void {
    for (const name of this.#changedListeners) this.#warm(name);
    for (const name of this.#changedListeners) {
      const listener = this.#live.get(name);
      if (listener !== undefined) this.#listenerForms.set(name, this.#withRoutes(listener));
    }
    for (const name of this.#changedClusters) {
      const decoded = this.#clusters.get(name);
      if (decoded === undefined) continue;
      const { cluster, hash } = decoded;
      const hosts =
        (cluster.edsServiceName === null
          ? this.#inlineHosts.get(name)
          : this.#hosts.get(cluster.edsServiceName)) ?? NO_HOSTS;
      this.#clusterForms.set(name, { ...cluster, ...hosts, hash });
    }
    this.#changedListeners.clear();
    this.#changedClusters.clear();
    this.#snapshot = makeSnapshot(
      this.#snapshot.version + 1,
      new Map(this.#listenerForms),
      new Map(this.#clusterForms),
      new Map(this.#routes),
    );
    for (const run of this.#subscribers) run(this.#snapshot);
  }

  /** The newest form of a listener goes live once its routes are here, or the wait is over. */
  #warm(name: string): void {
    const listener = this.#wanted.get(name);
    if (listener === undefined) return;
    const missing = routeNames(listener).some((route) => !this.#routes.has(route));
    if (!missing || this.#overdue.has(name)) {
      this.#live.set(name, listener);
      this.#waiting.get(name)?.();
      this.#waiting.delete(name);
    } else if (!this.#waiting.has(name)) {
      this.#waiting.set(
        name,
        this.#clock.after(this.#warmMs, () => {
          this.#waiting.delete(name);
          this.#overdue.add(name);
          this.#changedListeners.add(name);
          this.#publish();
        }),
      );
    }
  }

  #withRoutes(listener: Listener): Listener {
    const fill = (chain: FilterChain): FilterChain => {
      const http = chain.terminal;
      const table =
        http.kind === "http" && http.routeConfigName !== null
          ? this.#routes.get(http.routeConfigName)
          : undefined;
      return table === undefined || http.kind !== "http"
        ? chain
        : { ...chain, terminal: { ...http, routes: table } };
    };
    const { defaultFilterChain } = listener;
    return makeListener({
      ...listener,
      filterChains: listener.filterChains.map(fill),
      defaultFilterChain: defaultFilterChain === null ? null : fill(defaultFilterChain),
    });
  }
}

function link(index: Map<string, Set<string>>, key: string | null, name: string): void {
  if (key === null) return;
  const names = index.get(key);
  if (names === undefined) index.set(key, new Set([name]));
  else names.add(name);
}

function touch(changed: Set<string>, names: ReadonlySet<string> | undefined): void {
  for (const name of names ?? []) changed.add(name);
}

function chainsOf(listener: Listener): readonly FilterChain[] {
  return listener.defaultFilterChain === null
    ? listener.filterChains
    : [...listener.filterChains, listener.defaultFilterChain];
}

function routeNames(listener: Listener): string[] {
  return chainsOf(listener).flatMap((chain) =>
    chain.terminal.kind === "http" ? (chain.terminal.routeConfigName ?? []) : [],
  );
}

function makeSnapshot(
  version: number,
  listeners: Map<string, Listener>,
  clusters: Map<string, Cluster>,
  routeTables: Map<string, RouteTable>,
): Snapshot {
  const byAddress = new Map<string, Listener>();
  for (const listener of listeners.values()) {
    // The virtual listeners take connections in; they are not looked up by where those wanted to go.
    if (!listener.restoresOriginalDst) byAddress.set(`${listener.address}:${listener.port}`, listener);
  }
  return {
    version,
    listeners,
    bound: [...listeners.values()].filter((listener) => listener.bindToPort),
    findByOriginalDst: (address, port) =>
      byAddress.get(`${address}:${port}`) ??
      byAddress.get(`0.0.0.0:${port}`) ??
      byAddress.get(`:::${port}`) ??
      null,
    clusters,
    routeTables,
  };
}
