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
import { type HostSet, NO_HOSTS, updateHosts } from "../cluster/hosts.ts";
import type { RouteTable } from "../route/table.ts";
import type { Cluster, FilterChain, Listener, Snapshot, UpstreamTls } from "../snapshot.ts";
import { type DecodedCluster, decodeCluster } from "./decode/cluster.ts";
import { decodeListener, digest, makeListener } from "./decode/listener.ts";
import { Problems } from "./decode/problems.ts";
import { decodeRoutes } from "./decode/route.ts";

const PREFIX = "type.googleapis.com/";
export const TYPE_URL = {
  cluster: `${PREFIX}${ClusterSchema.typeName}`,
  endpoints: `${PREFIX}${ClusterLoadAssignmentSchema.typeName}`,
  listener: `${PREFIX}${ListenerSchema.typeName}`,
  routes: `${PREFIX}${RouteConfigurationSchema.typeName}`,
} as const;

export interface ResourceUpdate {
  readonly typeUrl: string;
  readonly resources: readonly Any[];
  readonly removed?: readonly string[];
  /** State of the world (CDS and LDS only): what is not listed is removed. */
  readonly full?: boolean;
}

export interface UpdateResult {
  /** Text for error_detail, one line per error with the resource's name and the field's path; empty = ACK. */
  readonly errors: readonly string[];
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

  /** Names to subscribe to: RDS and EDS. */
  interest(typeUrl: string): string[] {
    if (typeUrl === TYPE_URL.endpoints)
      return [...new Set([...this.#clusters.values()].flatMap((c) => c.cluster.edsServiceName ?? []))];
    if (typeUrl === TYPE_URL.routes) return [...new Set([...this.#wanted.values()].flatMap(routeNames))];
    return [];
  }

  /** Good resources of the update are taken, bad ones keep their last good form. */
  update(update: ResourceUpdate): UpdateResult {
    const errors: string[] = [];
    const warnings: string[] = [];
    const names = new Set<string>();
    for (const any of update.resources) {
      const problems = new Problems();
      const name = this.#take(update.typeUrl, any, problems);
      names.add(name);
      errors.push(...problems.errors.map((e) => `${name}: ${e}`));
      warnings.push(...problems.warnings.map((w) => `${name}: ${w}`));
    }
    const removed = [...(update.removed ?? [])];
    if (update.full === true)
      removed.push(...this.#namesOf(update.typeUrl).filter((name) => !names.has(name)));
    for (const name of removed) this.#remove(update.typeUrl, name);
    this.#publish();
    return { errors, warnings };
  }

  #take(typeUrl: string, any: Any, problems: Problems): string {
    try {
      switch (typeUrl) {
        case TYPE_URL.cluster: {
          const wire = fromBinary(ClusterSchema, any.value);
          const decoded = decodeCluster(wire, problems);
          if (problems.errors.length === 0) {
            this.#clusters.set(wire.name, { ...decoded, hash: digest(toBinary(ClusterSchema, wire)) });
            if (decoded.inline !== null)
              this.#inlineHosts.set(
                wire.name,
                updateHosts(this.#inlineHosts.get(wire.name) ?? NO_HOSTS, decoded.inline),
              );
            else this.#inlineHosts.delete(wire.name);
          }
          return wire.name;
        }
        case TYPE_URL.endpoints: {
          const wire: ClusterLoadAssignment = fromBinary(ClusterLoadAssignmentSchema, any.value);
          this.#hosts.set(wire.clusterName, updateHosts(this.#hosts.get(wire.clusterName) ?? NO_HOSTS, wire));
          return wire.clusterName;
        }
        case TYPE_URL.listener: {
          const wire = fromBinary(ListenerSchema, any.value);
          const listener = decodeListener(wire, problems);
          if (problems.errors.length === 0) this.#wanted.set(wire.name, listener);
          return wire.name;
        }
        case TYPE_URL.routes: {
          const wire = fromBinary(RouteConfigurationSchema, any.value);
          const table = decodeRoutes(wire, problems);
          if (problems.errors.length === 0) this.#routes.set(wire.name, table);
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
    if (typeUrl === TYPE_URL.cluster) return [...this.#clusters.keys()];
    if (typeUrl === TYPE_URL.listener) return [...this.#wanted.keys()];
    return [];
  }

  #remove(typeUrl: string, name: string): void {
    if (typeUrl === TYPE_URL.cluster) {
      this.#clusters.delete(name);
      this.#inlineHosts.delete(name);
    } else if (typeUrl === TYPE_URL.endpoints) {
      for (const host of this.#hosts.get(name)?.hosts ?? []) host.removed = true;
      this.#hosts.delete(name);
    } else if (typeUrl === TYPE_URL.routes) this.#routes.delete(name);
    else if (typeUrl === TYPE_URL.listener) {
      this.#wanted.delete(name);
      this.#live.delete(name);
      this.#waiting.get(name)?.();
      this.#waiting.delete(name);
      this.#overdue.delete(name);
    }
  }

  #publish(): void {
    for (const [name, listener] of this.#wanted) {
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
            this.#publish();
          }),
        );
      }
    }
    const listeners = new Map([...this.#live].map(([name, listener]) => [name, this.#withRoutes(listener)]));
    const clusters = new Map<string, Cluster>();
    for (const [name, { cluster, hash }] of this.#clusters) {
      const hosts =
        (cluster.edsServiceName === null
          ? this.#inlineHosts.get(name)
          : this.#hosts.get(cluster.edsServiceName)) ?? NO_HOSTS;
      clusters.set(name, { ...cluster, ...hosts, hash });
    }
    this.#snapshot = makeSnapshot(this.#snapshot.version + 1, listeners, clusters, new Map(this.#routes));
    for (const run of this.#subscribers) run(this.#snapshot);
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
  const secretNames = new Set<string>();
  const secrets = (tls: Pick<UpstreamTls, "certificateSecrets" | "validation"> | null): void => {
    for (const name of tls?.certificateSecrets ?? []) secretNames.add(name);
    if (tls?.validation.rootSecret) secretNames.add(tls.validation.rootSecret);
  };
  for (const listener of listeners.values()) {
    // The virtual listeners take connections in; they are not looked up by where those wanted to go.
    if (!listener.restoresOriginalDst) byAddress.set(`${listener.address}:${listener.port}`, listener);
    for (const chain of chainsOf(listener)) secrets(chain.tls);
  }
  for (const cluster of clusters.values()) {
    secrets(cluster.transportSocket);
    for (const match of cluster.transportSocketMatches) secrets(match.tls);
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
    secretNames,
  };
}
