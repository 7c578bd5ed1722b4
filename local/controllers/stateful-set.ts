import type { Done, WorkloadStatus } from "../contract.ts";
import { Fields } from "../fields.ts";
import { list, type PlatformObject, record } from "../object.ts";
import { isOver, type OwnedPod, type OwnerKey } from "../pods.ts";
import { type Controller, type ControllerContext, type ControllerOperations, keyOf } from "./controller.ts";
import { Revisions, type Template } from "./revisions.ts";
import { type IntOrPercent, percentOf } from "./rolling.ts";
import { type Autoscaled, type Scalable, scaleByHand } from "./scaling.ts";

interface StatefulSetSpec {
  readonly replicas: number;
  /** The first ordinal. */
  readonly start: number;
  /** One after the other, each when the one before is available. */
  readonly ordered: boolean;
  readonly onDelete: boolean;
  /** Pods with a lower ordinal keep the former revision. */
  readonly partition: number;
  readonly maxUnavailable: IntOrPercent;
  readonly minReadySeconds: number;
  readonly revisionHistoryLimit: number;
  /** Names of volumeClaimTemplates, and when the folders of their claims go. */
  readonly claims: readonly string[];
  readonly whenDeleted: "Retain" | "Delete";
  readonly whenScaled: "Retain" | "Delete";
  readonly paused: false;
}

/** Throws PlatformError. */
export function statefulSetSpec(object: PlatformObject): StatefulSetSpec {
  const spec = new Fields(object);
  const update = spec.at("updateStrategy");
  const rolling = update.at("rollingUpdate");
  const retention = spec.at("persistentVolumeClaimRetentionPolicy");
  return {
    replicas: spec.whole("replicas", 1),
    start: spec.at("ordinals").whole("start", 0),
    ordered:
      spec.oneOf("podManagementPolicy", ["OrderedReady", "Parallel"], "OrderedReady") === "OrderedReady",
    onDelete: update.oneOf("type", ["RollingUpdate", "OnDelete"], "RollingUpdate") === "OnDelete",
    partition: rolling.whole("partition", 0),
    maxUnavailable: rolling.intOrPercent("maxUnavailable", 1),
    minReadySeconds: spec.whole("minReadySeconds", 0),
    revisionHistoryLimit: spec.whole("revisionHistoryLimit", 10),
    claims: list(spec.json["volumeClaimTemplates"]).map((c) => String(record(c["metadata"])["name"])),
    whenDeleted: retention.oneOf("whenDeleted", ["Retain", "Delete"], "Retain"),
    whenScaled: retention.oneOf("whenScaled", ["Retain", "Delete"], "Retain"),
    paused: false,
  };
}

/** Names that its pods have: NAME-0, NAME-1 ... */
export function statefulSetNames(object: PlatformObject, replicas: number): string[] {
  const { start } = statefulSetSpec(object);
  return Array.from({ length: replicas }, (_, i) => `${object.metadata.name}-${start + i}`);
}

/** Pods with names, addresses and volumes that outlive them, started and ended in order. */
export class StatefulSet implements Controller, Scalable {
  readonly key: OwnerKey;
  readonly #context: ControllerContext;
  readonly #revisions: Revisions;
  #object: PlatformObject;
  #spec: StatefulSetSpec;
  #autoscaled: Autoscaled | undefined;

  constructor(context: ControllerContext, object: PlatformObject) {
    this.key = keyOf(object);
    this.#context = context;
    this.#object = object;
    this.#spec = statefulSetSpec(object);
    this.#revisions = new Revisions(context.store, this.key);
  }

  update(object: PlatformObject): void {
    this.#object = object;
    this.#spec = statefulSetSpec(object);
  }

  remove(): void {
    this.#revisions.forget();
    for (const pod of this.#context.pods.of(this.key)) this.#removeForGood(pod, this.#spec.whenDeleted);
  }

  /** Its claims stay, unless the set says that they go with it. */
  #removeForGood(pod: OwnedPod, claims: "Retain" | "Delete"): void {
    const names = claims === "Delete" ? this.#spec.claims.map((claim) => `${claim}-${pod.name}`) : [];
    void this.#context.pods.remove(pod).then(() => {
      for (const name of names) this.#context.removeClaim(pod.template.namespace, name);
    });
  }

  get replicas(): number {
    return this.#autoscaled?.replicas ?? this.fileReplicas;
  }
  get fileReplicas(): number {
    return this.#revisions.replicas(this.#spec.replicas);
  }
  get names(): string[] {
    return statefulSetNames(this.#object, this.replicas);
  }
  autoscale(by: Autoscaled | undefined): void {
    if (this.#autoscaled?.by === by?.by && this.#autoscaled?.replicas === by?.replicas) return;
    this.#autoscaled = by;
    this.#context.poke();
  }

  async reconcile(): Promise<void> {
    const { clock, wakeAfter } = this.#context;
    this.#revisions.follow(this.#object, this.#spec);
    for (const pod of this.#context.pods.of(this.key))
      if (isOver(pod.pod)) this.#context.pods.replaceLater(pod);
    const wanted = this.#revisions.wanted(this.#object);
    this.#revisions.record(this.#object, wanted, clock.now(), this.#spec.revisionHistoryLimit);
    if (await this.#fill(wanted)) this.#replace(wanted);
    const updated = this.#updated(wanted);
    if (updated.length >= this.replicas && updated.every((p) => this.#available(p)))
      this.#revisions.settle(wanted.pod.hash);
    for (const pod of this.#pods()) {
      const wait = this.#availableIn(pod);
      if (wait > 0 && wait < Number.POSITIVE_INFINITY) wakeAfter(wait);
    }
  }

  /** Pods by ordinal; those that end hold their name until they are gone. */
  #pods(): OwnedPod[] {
    return this.#context.pods.of(this.key).toSorted((a, b) => (a.ordinal ?? 0) - (b.ordinal ?? 0));
  }
  #updated(wanted: Template): OwnedPod[] {
    return this.#pods().filter((p) => p.hash === wanted.pod.hash && !p.pod.stopping);
  }
  #availableIn({ readySince, pod }: OwnedPod): number {
    if (readySince === undefined || pod.stopping) return Number.POSITIVE_INFINITY;
    return Math.max(0, readySince + this.#spec.minReadySeconds * 1000 - this.#context.clock.monotonic());
  }
  #available(pod: OwnedPod): boolean {
    return this.#availableIn(pod) === 0;
  }

  /** Makes what is missing and ends what is too much. True: nothing stands in the way of a rolling update. */
  async #fill(wanted: Template): Promise<boolean> {
    const { ordered, start } = this.#spec;
    const end = start + this.replicas;
    const byOrdinal = new Map(this.#pods().map((p) => [p.ordinal, p]));
    for (let ordinal = start; ordinal < end; ordinal++) {
      const pod = byOrdinal.get(ordinal);
      if (pod === undefined) await this.#create(ordinal, this.#templateFor(ordinal, wanted));
      else if (this.#available(pod)) continue;
      // Its template is old: waiting for it would be for ever where the new one is the cure.
      else if (ordered && !pod.pod.stopping && this.#outdated(pod, wanted)) {
        void this.#context.pods.remove(pod, true);
        return false;
      }
      if (ordered) return false;
    }
    const surplus = this.#pods().filter((p) => (p.ordinal ?? 0) < start || (p.ordinal ?? 0) >= end);
    for (const pod of surplus.reverse()) {
      this.#removeForGood(pod, this.#spec.whenScaled);
      // From the highest down, the next when this one is gone.
      if (ordered) return false;
    }
    return true;
  }

  #outdated(pod: OwnedPod, wanted: Template): boolean {
    const { onDelete, start, partition } = this.#spec;
    return !onDelete && pod.hash !== wanted.pod.hash && (pod.ordinal ?? 0) >= start + partition;
  }

  /** A pod below the partition is made anew as it was. */
  #templateFor(ordinal: number, wanted: Template): Template {
    const { settled } = this.#revisions;
    const { onDelete, start, partition } = this.#spec;
    if (onDelete || ordinal >= start + partition || settled === undefined) return wanted;
    return this.#revisions.template(this.#object, settled) ?? wanted;
  }

  /** From the highest ordinal down; no more at a time than may be missing. */
  #replace(wanted: Template): void {
    const pods = this.#pods();
    const most = Math.max(1, percentOf(this.#spec.maxUnavailable, this.replicas, Math.ceil));
    let missing = pods.filter((p) => !this.#available(p)).length;
    for (const pod of pods.reverse()) {
      if (pod.pod.stopping || !this.#outdated(pod, wanted)) continue;
      if (this.#available(pod)) {
        if (missing >= most) return;
        missing++;
      }
      void this.#context.pods.remove(pod, true);
    }
  }

  async #create(ordinal: number, { pod }: Template): Promise<void> {
    const name = `${this.#object.metadata.name}-${ordinal}`;
    const { serviceName } = (this.#object.spec ?? {}) as { serviceName?: string };
    await this.#context.pods.create({
      owner: this.key,
      name,
      template: {
        ...pod,
        labels: {
          ...pod.labels,
          "controller-revision-hash": pod.hash,
          "statefulset.kubernetes.io/pod-name": name,
          "apps.kubernetes.io/pod-index": String(ordinal),
        },
        ...(serviceName === undefined ? {} : { subdomain: serviceName }),
      },
      hash: pod.hash,
      revision: this.#revisions.numberOf(pod.hash),
      ordinal,
    });
  }

  status(): WorkloadStatus {
    const wanted = this.#revisions.wanted(this.#object);
    const { metadata, source } = this.#object;
    const { replicas } = this;
    const live = this.#pods().filter((p) => !p.pod.stopping);
    const ready = live.filter((p) => p.readySince !== undefined).length;
    const updated = this.#updated(wanted).length;
    const available = live.filter((p) => this.#available(p)).length;
    const { partition, onDelete } = this.#spec;
    const due = onDelete ? 0 : Math.max(0, replicas - partition);
    return {
      kind: "StatefulSet",
      namespace: metadata.namespace ?? "default",
      name: metadata.name,
      ...(source === undefined ? {} : { source }),
      ready: ready >= replicas && updated >= due,
      desired: replicas,
      current: live.length,
      updated,
      readyPods: ready,
      available,
      revision: this.#revisions.newest?.revision ?? 0,
      paused: false,
      conditions: [],
      trouble: "",
      rollout: this.#rollout({ replicas, ready, updated, due }),
      changed: [
        ...this.#revisions.changed(this.#object, this.#spec),
        ...(this.#autoscaled === undefined ? [] : [`scaled by ${this.#autoscaled.by}`]),
      ],
    };
  }

  /** The sentences of `kubectl rollout status`. */
  #rollout(n: {
    replicas: number;
    ready: number;
    updated: number;
    due: number;
  }): NonNullable<WorkloadStatus["rollout"]> {
    if (n.ready < n.replicas)
      return { state: "progressing", message: `Waiting for ${n.replicas - n.ready} pods to be ready...` };
    if (n.updated < n.due) {
      const what = this.#spec.partition > 0 ? "partitioned roll out" : "statefulset rolling update";
      return {
        state: "progressing",
        message: `Waiting for ${what} to finish: ${n.updated} out of ${n.due} new pods have been updated...`,
      };
    }
    const message =
      this.#spec.partition > 0
        ? `partitioned roll out complete: ${n.due} new pods have been updated...`
        : `statefulset rolling update complete ${n.replicas} pods at revision ${this.#revisions.newest?.hash ?? ""}...`;
    return { state: "complete", message };
  }

  get operations(): Partial<ControllerOperations> {
    const then = (operation: () => Done): Done => {
      const done = operation();
      this.#context.poke();
      return done;
    };
    return {
      history: () => this.#revisions.history(),
      restart: () => then(() => this.#revisions.restart(this.#object, this.#context.clock.now())),
      undo: ({ toRevision = 0 }) => then(() => this.#revisions.undo(this.#object, toRevision)),
      scale: (replicas) =>
        then(() =>
          scaleByHand(this.#object, this.#autoscaled, () =>
            this.#revisions.scale(this.#object, replicas, this.#spec.replicas),
          ),
        ),
    };
  }
}
