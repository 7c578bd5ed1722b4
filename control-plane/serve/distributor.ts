import type { Logger } from "#lib/log.ts";
import type { World } from "#policies/index.ts";
import type { Node } from "#xds/gen/envoy/config/core/v3/base_pb.js";
import type { ResourceSet } from "#xds/index.ts";
import type { Config } from "../config.ts";
import { type ProxyNode, resourcesFor, workloadAt } from "../pipeline.ts";
import { complete } from "./last-written.ts";

export interface DistributorOptions {
  readonly config: Config;
  readonly world: () => World;
  readonly push: (nodeId: string, resources: ResourceSet) => void;
  readonly log: Logger;
}

/** Knows which proxies are connected and gives each of them what the world of now means for it. */
export class Distributor {
  readonly #options: DistributorOptions;
  readonly #nodes = new Map<string, ProxyNode>();
  readonly #given = new Map<string, ResourceSet | null>();
  /** What pods whose proxy is not connected had last: the pod may start its proxy again. */
  readonly #former = new Map<string, { readonly node: ProxyNode; readonly set: ResourceSet }>();
  readonly #failures = new Map<string, readonly string[]>();

  constructor(options: DistributorOptions) {
    this.#options = options;
  }

  /** What connected proxies were last given, by node id; null while the platform knows no such pod. */
  get given(): ReadonlyMap<string, ResourceSet | null> {
    return this.#given;
  }

  /** Proxies for which not everything could be made of the world of now, and why, with the place that is to blame. */
  get failures(): ReadonlyMap<string, readonly string[]> {
    return this.#failures;
  }

  connect(node: Node): ResourceSet | undefined {
    const [, ip = "", name = ""] = node.id.split("~");
    const weft = node.metadata?.["WEFT_VERSION"] !== undefined;
    const account = node.metadata?.["SERVICE_ACCOUNT"];
    this.#nodes.set(node.id, {
      ip,
      namespace: name.split(".").at(-1) ?? "",
      serviceAccount: typeof account === "string" ? account : null,
      flavour: weft ? "weft" : "envoy-stock",
    });
    this.#given.set(node.id, null);
    return this.#make(node.id) ?? undefined;
  }

  disconnect(nodeId: string): void {
    const [node, set] = [this.#nodes.get(nodeId), this.#given.get(nodeId)];
    if (node !== undefined && set != null) this.#former.set(nodeId, { node, set });
    for (const map of [this.#nodes, this.#given, this.#failures]) map.delete(nodeId);
  }

  /** The world changed. */
  publish(): void {
    for (const [nodeId, { node }] of this.#former)
      if (workloadAt(this.#options.world(), node) === undefined) this.#former.delete(nodeId);
    for (const nodeId of this.#nodes.keys()) {
      const set = this.#make(nodeId);
      if (set !== null) this.#options.push(nodeId, set);
    }
  }

  /** null: nothing new for this proxy, whatever it has stays. */
  #make(nodeId: string): ResourceSet | null {
    const { config, world } = this.#options;
    try {
      const made = resourcesFor(world(), this.#nodes.get(nodeId)!, config);
      if (made === null) {
        this.#failed(nodeId, []);
        return null;
      }
      const former = this.#given.get(nodeId) ?? this.#former.get(nodeId)?.set ?? null;
      const { resources, failures } = complete(made, former);
      this.#failed(nodeId, failures);
      this.#given.set(nodeId, resources);
      this.#former.delete(nodeId);
      return resources;
    } catch (error) {
      this.#failed(nodeId, [`its former configuration stays: ${(error as Error).message}`]);
      return null;
    }
  }

  #failed(nodeId: string, failures: readonly string[]): void {
    const before = this.#failures.get(nodeId) ?? [];
    for (const reason of failures)
      if (!before.includes(reason))
        this.#options.log.error("not everything can be written for a proxy", { proxy: nodeId, reason });
    if (failures.length === 0) this.#failures.delete(nodeId);
    else this.#failures.set(nodeId, failures);
  }
}
