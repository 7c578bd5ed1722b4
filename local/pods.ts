import { Backoff } from "#lib/backoff.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { Addresses, PodAddress } from "./addresses.ts";
import type { WorkloadKind } from "./contract.ts";
import type { Pod } from "./pod.ts";
import type { PodTemplate } from "./spec.ts";

/** "Deployment/default/web" */
export type OwnerKey = `${WorkloadKind}/${string}/${string}`;

/** What a controller asks for. */
export interface PodWish {
  readonly owner: OwnerKey;
  readonly name: string;
  readonly template: PodTemplate;
  /** Of the template: the label pod-template-hash or controller-revision-hash. */
  readonly hash: string;
  readonly revision: number;
  /** StatefulSets and indexed Jobs. */
  readonly ordinal?: number;
}

/** A pod as its controller sees it. */
export interface OwnedPod extends PodWish {
  /** Counts up over all pods of this run. */
  readonly serial: number;
  readonly pod: Pod;
  /** Ms since the epoch. */
  readonly created: number;
  /** Monotonic ms since when it is ready without a break; undefined while it is not. */
  readonly readySince: number | undefined;
}

interface Entry extends OwnedPod {
  readonly id: string;
  readySince: number | undefined;
  removed: Promise<void> | undefined;
  /** It has ended by itself and given back its network and address. */
  retired: boolean;
  /** It is to be replaced. */
  givenUp: boolean;
}

export interface PodsOptions {
  readonly addresses: Addresses;
  readonly clock: Clock;
  readonly log: Logger;
  readonly drainMs: number;
  readonly make: (wish: PodWish, id: string, address: PodAddress) => Pod;
  /** The network of a pod that ended. */
  readonly leaveNetwork: (id: string) => Promise<void>;
  readonly changed: () => void;
}

/** A pod that cannot even be started (no network, disk full) is made anew, less and less often. */
const RETRY_MS = { base: 1_000, max: 60_000 };

/** All pods of the mesh, whoever owns them: names, addresses, their start and end. */
export class Pods {
  readonly #options: PodsOptions;
  #entries: Entry[] = [];
  /** Names that only their owner may give: of StatefulSets and bare pods. */
  #reserved: ReadonlySet<string> = new Set();
  readonly #retries = new Map<OwnerKey, Backoff>();
  #stopping = false;
  #serial = 0;

  constructor(options: PodsOptions) {
    this.#options = options;
  }

  get all(): readonly OwnedPod[] {
    return this.#entries;
  }
  get pods(): readonly Pod[] {
    return this.#entries.map((e) => e.pod);
  }

  /** Those of an owner, those that end included. */
  of(owner: OwnerKey): readonly OwnedPod[] {
    return this.#entries.filter((e) => e.owner === owner);
  }

  reserve(names: ReadonlySet<string>): void {
    this.#reserved = names;
  }

  /** The lowest NAME-0, NAME-1 ... that no pod of the mesh has, not even one that ends. */
  freeName(base: string): string {
    const names = new Set(this.#entries.map((e) => e.name));
    for (let n = 0; ; n++) {
      const name = `${base}-${n}`;
      if (!names.has(name) && !this.#reserved.has(name)) return name;
    }
  }

  /** Makes a pod and lets it start; what hinders its start is logged, and it is made anew later. */
  async create(wish: PodWish): Promise<OwnedPod> {
    const id = this.#idFor(wish);
    const address = await this.#options.addresses.pod(id);
    const entry: Entry = {
      ...wish,
      id,
      serial: ++this.#serial,
      pod: this.#options.make(wish, id, address),
      created: this.#options.clock.now(),
      readySince: undefined,
      removed: undefined,
      retired: false,
      givenUp: false,
    };
    this.#entries.push(entry);
    this.#options.changed();
    entry.pod.start().catch((error: unknown) => this.#failedToStart(entry, error));
    return entry;
  }

  /** The name where no other pod has it; two namespaces may each have a db-0. */
  #idFor({ name, template }: PodWish): string {
    const taken = this.#entries.some((e) => e.id === name);
    return taken ? `${name}.${template.namespace}` : name;
  }

  #failedToStart(entry: Entry, error: unknown): void {
    if (entry.pod.stopping || this.#stopping) return;
    this.#options.log.error("a pod could not be started; tried again", { pod: entry.name, error });
    this.replaceLater(entry);
  }

  /** Takes away a pod that is of no use any more; its controller makes another, less and less often until one is ready. */
  replaceLater(pod: OwnedPod): void {
    const entry = this.#entries.find((e) => e === pod);
    if (entry === undefined || entry.givenUp) return;
    entry.givenUp = true;
    const waits = this.#retries.get(entry.owner) ?? new Backoff(RETRY_MS.base, RETRY_MS.max, () => 1);
    this.#retries.set(entry.owner, waits);
    this.#options.clock.after(waits.next(), () => void this.remove(entry, true));
  }

  /** Lets it end; resolves when nothing of it is left. With `keepAddress` the next pod of its name gets its address. */
  remove(pod: OwnedPod, keepAddress = false): Promise<void> {
    const entry = this.#entries.find((e) => e === pod);
    if (entry === undefined) return Promise.resolve();
    entry.removed ??= this.#end(entry, keepAddress);
    return entry.removed;
  }

  async #end(entry: Entry, keepAddress: boolean): Promise<void> {
    const { pod } = entry;
    try {
      await pod.stop(this.#options.drainMs);
    } catch (error) {
      if (!this.#stopping) this.#options.log.error("a pod did not end cleanly", { pod: entry.name, error });
    }
    await this.#leave(entry, keepAddress);
    this.#entries = this.#entries.filter((e) => e !== entry);
    this.#options.changed();
  }

  /** Gives back its network and its address, once. */
  async #leave(entry: Entry, keepAddress: boolean): Promise<void> {
    if (entry.retired) return;
    entry.retired = true;
    const { id } = entry;
    try {
      await this.#options.leaveNetwork(id);
    } catch (error) {
      if (!this.#stopping) this.#options.log.error("a pod did not end cleanly", { pod: entry.name, error });
    }
    this.#options.addresses.release(id, keepAddress);
  }

  /** Looks who is ready now; called after every change, before anybody reasons about it. */
  observe(): void {
    const now = this.#options.clock.monotonic();
    for (const entry of this.#entries) {
      if (!entry.pod.ready) entry.readySince = undefined;
      else {
        entry.readySince ??= now;
        this.#retries.delete(entry.owner);
      }
      if (hasEnded(entry) && entry.removed === undefined) void this.#leave(entry, false);
    }
  }

  /** All at once and without draining: the mesh ends. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#entries.map((e) => e.removed ?? e.pod.stop(0)));
  }
}

/** By itself, with everything that it started. */
function hasEnded(owned: OwnedPod): boolean {
  return isOver(owned.pod) && owned.pod.processes.every((p) => p.pid === undefined);
}

/** Ended by itself: it has no address any more. */
export function isOver({ phase }: Pick<Pod, "phase">): boolean {
  return phase === "Succeeded" || phase === "Failed";
}
