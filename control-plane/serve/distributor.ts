import type { Logger } from "#lib/log.ts";
import type { World } from "#policies/index.ts";
import type { Node } from "#xds/gen/envoy/config/core/v3/base_pb.js";
import type { ResourceSet } from "#xds/index.ts";
import type { Config } from "../config.ts";
import { type ProxyNode, resourcesFor } from "../pipeline.ts";

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
  readonly #failures = new Map<string, string>();

  constructor(options: DistributorOptions) {
    this.#options = options;
  }

  /** What connected proxies were last given, by node id; null while the platform knows no such pod. */
  get given(): ReadonlyMap<string, ResourceSet | null> {
    return this.#given;
  }

  /** Proxies for which nothing could be made of the world of now, and why; they run on with what they have. */
  get failures(): ReadonlyMap<string, string> {
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
    for (const map of [this.#nodes, this.#given, this.#failures]) map.delete(nodeId);
  }

  /** The world changed. */
  publish(): void {
    for (const nodeId of this.#nodes.keys()) {
      const set = this.#make(nodeId);
      if (set !== null) this.#options.push(nodeId, set);
    }
  }

  /** null: nothing new for this proxy, whatever it has stays. */
  #make(nodeId: string): ResourceSet | null {
    const { config, world, log } = this.#options;
    try {
      const set = resourcesFor(world(), this.#nodes.get(nodeId)!, config);
      this.#failures.delete(nodeId);
      if (set !== null) this.#given.set(nodeId, set);
      return set;
    } catch (error) {
      const { message } = error as Error;
      if (this.#failures.get(nodeId) !== message)
        log.error("a proxy keeps its former configuration", { proxy: nodeId, reason: message });
      this.#failures.set(nodeId, message);
      return null;
    }
  }
}
