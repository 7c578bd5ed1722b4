import type { Condition, Done, UndoRequest, WorkloadKind, WorkloadStatus } from "../contract.ts";
import type { PlatformObject } from "../object.ts";
import { isOver, type OwnedPod, type OwnerKey } from "../pods.ts";
import {
  Conditions,
  type Controller,
  type ControllerContext,
  type ControllerOperations,
  keyOf,
  refuse,
  spoken,
} from "./controller.ts";
import { type ReplicatedSpec, replicatedSpec } from "./replicated-spec.ts";
import { Revisions, type Template } from "./revisions.ts";
import { rollingBounds, rollingStep } from "./rolling.ts";
import { type Autoscaled, type Scalable, scaleByHand } from "./scaling.ts";

/** Deployments, and what is less than one: ReplicaSets, DaemonSets, bare Pods. */
export class Replicated implements Controller, Scalable {
  readonly key: OwnerKey;
  readonly #context: ControllerContext;
  readonly #revisions: Revisions;
  readonly #conditions: Conditions;
  #object: PlatformObject;
  #spec: ReplicatedSpec;
  #autoscaled: Autoscaled | undefined;
  /** Monotonic ms of the last step towards the template that is wanted. */
  #progressAt: number;
  #progress = "";

  constructor(context: ControllerContext, object: PlatformObject) {
    this.key = keyOf(object);
    this.#context = context;
    this.#object = object;
    this.#spec = replicatedSpec(object);
    this.#revisions = new Revisions(context.store, this.key);
    this.#conditions = new Conditions(context.clock);
    this.#progressAt = context.clock.monotonic();
  }

  update(object: PlatformObject): void {
    this.#object = object;
    this.#spec = replicatedSpec(object);
  }

  remove(): void {
    this.#revisions.forget();
    for (const pod of this.#context.pods.of(this.key)) void this.#context.pods.remove(pod);
  }

  get replicas(): number {
    return this.#autoscaled?.replicas ?? this.fileReplicas;
  }
  get fileReplicas(): number {
    return this.#revisions.replicas(this.#spec.replicas);
  }
  autoscale(by: Autoscaled | undefined): void {
    if (this.#autoscaled?.by === by?.by && this.#autoscaled?.replicas === by?.replicas) return;
    this.#autoscaled = by;
    this.#context.poke();
  }

  get #paused(): boolean {
    return this.#revisions.paused(this.#spec.paused);
  }

  /** What new pods are made of: while the rollout is paused, what it had come to. Undefined: it was never begun. */
  #target(): Template | undefined {
    const { newest } = this.#revisions;
    if (this.#paused) return newest && this.#revisions.template(this.#object, newest.hash);
    return this.#revisions.wanted(this.#object);
  }

  #live(): OwnedPod[] {
    return this.#context.pods.of(this.key).filter((p) => !p.pod.stopping);
  }
  /** Ms until it counts as available: 0 now, infinite while it is not ready. */
  #availableIn({ readySince }: OwnedPod): number {
    if (readySince === undefined) return Number.POSITIVE_INFINITY;
    const at = readySince + this.#spec.minReadySeconds * 1000;
    return Math.max(0, at - this.#context.clock.monotonic());
  }
  /** A bare pod that has completed has done what was wanted. */
  #serves({ readySince, pod }: OwnedPod): boolean {
    return readySince !== undefined || pod.phase === "Succeeded";
  }

  #available(pod: OwnedPod): boolean {
    return this.#availableIn(pod) === 0;
  }

  async reconcile(): Promise<void> {
    this.#revisions.follow(this.#object, this.#spec);
    // A bare Pod may end; others are to run.
    if (this.#object.kind !== "Pod")
      for (const pod of this.#live()) if (isOver(pod.pod)) this.#context.pods.replaceLater(pod);
    const target = this.#target();
    if (target !== undefined) {
      if (!this.#paused) {
        const { clock } = this.#context;
        this.#revisions.record(this.#object, target, clock.now(), this.#spec.revisionHistoryLimit);
      }
      await this.#step(target);
    }
    this.#judge(target);
    for (const pod of this.#live()) {
      const wait = this.#availableIn(pod);
      if (wait > 0 && wait < Number.POSITIVE_INFINITY) this.#context.wakeAfter(wait);
    }
  }

  async #step(target: Template): Promise<void> {
    const { pods } = this.#context;
    const live = this.#live();
    const fresh = live.filter((p) => p.hash === target.pod.hash).sort(this.#leastUseful);
    const old = live.filter((p) => p.hash !== target.pod.hash).sort(this.#leastUseful);
    const { replicas } = this;
    const { strategy } = this.#spec;
    if (this.#paused || strategy.type === "OnDelete") {
      for (let n = live.length; n < replicas; n++) await this.#create(target);
      for (const pod of [...old, ...fresh].slice(0, Math.max(0, live.length - replicas)))
        void pods.remove(pod);
      return;
    }
    if (strategy.type === "Recreate") {
      for (const pod of old) void pods.remove(pod);
      const ending = pods.of(this.key).some((p) => p.hash !== target.pod.hash);
      if (!ending) for (let n = fresh.length; n < replicas; n++) await this.#create(target);
      for (const pod of fresh.slice(0, Math.max(0, fresh.length - replicas))) void pods.remove(pod);
      return;
    }
    const count = (list: readonly OwnedPod[]) => ({
      all: list.length,
      available: list.filter((p) => this.#available(p)).length,
    });
    const bounds = rollingBounds(replicas, strategy.maxSurge, strategy.maxUnavailable);
    const step = rollingStep(replicas, bounds, { fresh: count(fresh), old: count(old) });
    const serving = old.filter((p) => this.#available(p));
    const idle = old.filter((p) => !this.#available(p));
    const leaving = [
      ...fresh.slice(0, step.removeFresh),
      ...idle.slice(0, step.removeUnavailable),
      ...serving.slice(0, step.removeAvailable),
    ];
    for (const pod of leaving) void pods.remove(pod);
    for (let n = 0; n < step.create; n++) await this.#create(target);
  }

  /** Order of removal: what is not ready, then the oldest revision, then what was made last. */
  readonly #leastUseful = (a: OwnedPod, b: OwnedPod): number => {
    const ready = Number(a.readySince !== undefined) - Number(b.readySince !== undefined);
    if (ready !== 0) return ready;
    return a.revision - b.revision || b.serial - a.serial;
  };

  async #create({ pod }: Template): Promise<void> {
    const { pods } = this.#context;
    const { hashLabel } = this.#spec;
    const bare = this.#object.kind === "Pod";
    const { name } = this.#object.metadata;
    // Its former self still ends.
    if (bare && pods.of(this.key).length > 0) return;
    await pods.create({
      owner: this.key,
      name: bare ? name : pods.freeName(name),
      template: hashLabel === undefined ? pod : { ...pod, labels: { ...pod.labels, [hashLabel]: pod.hash } },
      hash: pod.hash,
      revision: this.#revisions.numberOf(pod.hash),
    });
  }

  #counts() {
    const live = this.#live();
    const hash = this.#target()?.pod.hash;
    return {
      live,
      current: live.length,
      updated: live.filter((p) => p.hash === hash).length,
      updatedReady: live.filter((p) => p.hash === hash && this.#serves(p)).length,
      ready: live.filter((p) => this.#serves(p)).length,
      available: live.filter((p) => this.#available(p)).length,
    };
  }

  /** Conditions Available and Progressing, as Kubernetes' deployment controller sets them. */
  #judge(target: Template | undefined): void {
    if (this.#object.kind !== "Deployment") return;
    const { clock, wakeAfter, log } = this.#context;
    const { replicas } = this;
    const { live, current, updated, ready, available } = this.#counts();
    const { strategy, progressDeadlineSeconds: deadline = Number.POSITIVE_INFINITY } = this.#spec;
    const least =
      strategy.type === "RollingUpdate"
        ? replicas - rollingBounds(replicas, strategy.maxSurge, strategy.maxUnavailable).unavailable
        : replicas;
    if (available >= least)
      this.#conditions.set(
        "Available",
        "True",
        "MinimumReplicasAvailable",
        "Deployment has minimum availability.",
      );
    else
      this.#conditions.set(
        "Available",
        "False",
        "MinimumReplicasUnavailable",
        `Deployment does not have minimum availability: ${available} of ${replicas} pods are available.`,
      );
    const hash = target?.pod.hash ?? "";
    const [shown, high] = [
      `${hash} ${replicas} ${this.#paused}`,
      // More new, fewer old, more ready, more available: each is progress, its contrary is none.
      [updated, -(current - updated), ready, available],
    ];
    if (this.#moved(shown, high)) this.#progressAt = clock.monotonic();
    const former = this.#conditions.get("Progressing")?.reason;
    const say = (status: Condition["status"], reason: string, message: string): void =>
      this.#conditions.set("Progressing", status, reason, message);
    const complete = updated === replicas && current === replicas && available >= replicas;
    if (this.#paused) say("Unknown", "DeploymentPaused", "Deployment is paused");
    else if (complete)
      say(
        "True",
        "NewReplicaSetAvailable",
        `Revision ${this.#revisions.numberOf(hash)} has successfully progressed.`,
      );
    else if (former === "NewReplicaSetAvailable" && this.#completedFor === shown) return;
    else {
      const left = this.#progressAt + deadline * 1000 - clock.monotonic();
      if (left > 0) {
        say(
          "True",
          "ReplicaSetUpdated",
          `${updated} of ${replicas} pods are of revision ${this.#revisions.numberOf(hash)}.`,
        );
        if (left < Number.POSITIVE_INFINITY) wakeAfter(left);
      } else if (former !== "ProgressDeadlineExceeded") {
        const waiting = live.filter((p) => !this.#available(p)).map((p) => p.name);
        const message = `not available after ${deadline} s without progress: ${waiting.join(", ")}`;
        say("False", "ProgressDeadlineExceeded", message);
        log.error("a rollout does not progress", { workload: this.key, message });
      }
    }
    if (complete) this.#completedFor = shown;
  }

  /** What was wanted when it was complete the last time: a pod that crashes later is no rollout. */
  #completedFor = "";
  #high: readonly number[] = [];

  #moved(wanted: string, counts: readonly number[]): boolean {
    const better = wanted !== this.#progress || counts.some((n, i) => n > (this.#high[i] ?? n));
    this.#progress = wanted;
    this.#high = counts;
    return better;
  }

  status(): WorkloadStatus {
    const { replicas } = this;
    const { current, updated, updatedReady, ready, available } = this.#counts();
    const { kind, metadata, source } = this.#object;
    const [, namespace = ""] = this.key.split("/");
    const rolls = kind === "Deployment" || kind === "DaemonSet";
    return {
      kind: kind as WorkloadKind,
      namespace,
      name: metadata.name,
      ...(source === undefined ? {} : { source }),
      ready:
        this.#paused ||
        this.#ended() !== undefined ||
        (this.#spec.strategy.type === "OnDelete" ? ready : updatedReady) >= replicas,
      desired: replicas,
      current,
      updated,
      readyPods: ready,
      available,
      revision: rolls ? (this.#revisions.newest?.revision ?? 0) : 0,
      paused: this.#paused,
      conditions: this.#conditions.list,
      trouble: this.#trouble(),
      ...(rolls ? { rollout: this.#rollout({ replicas, current, updated, available }) } : {}),
      changed: [
        ...this.#revisions.changed(this.#object, this.#spec),
        ...(this.#autoscaled === undefined ? [] : [`scaled by ${this.#autoscaled.by}`]),
      ],
    };
  }

  /** A bare Pod that has ended by itself, and is to run no more. */
  #ended(): OwnedPod | undefined {
    return this.#object.kind === "Pod" ? this.#live().find((p) => isOver(p.pod)) : undefined;
  }

  #trouble(): string {
    const ended = this.#ended();
    if (ended?.pod.phase === "Failed") return `${spoken(this.#object)} failed: ${ended.pod.message}`;
    const progressing = this.#conditions.get("Progressing");
    if (progressing?.reason !== "ProgressDeadlineExceeded") return "";
    return `${spoken(this.#object)} exceeded its progress deadline: ${progressing.message}`;
  }

  /** The sentences of `kubectl rollout status`. */
  #rollout(n: {
    replicas: number;
    current: number;
    updated: number;
    available: number;
  }): NonNullable<WorkloadStatus["rollout"]> {
    const what = `${this.#object.kind.toLowerCase()} "${this.#object.metadata.name}"`;
    const wait = `Waiting for ${what} rollout to finish`;
    if (this.#conditions.get("Progressing")?.reason === "ProgressDeadlineExceeded")
      return { state: "failed", message: `${what} exceeded its progress deadline` };
    const state = this.#paused ? "paused" : "progressing";
    const outdated =
      this.#paused && this.#revisions.wanted(this.#object).pod.hash !== this.#revisions.newest?.hash;
    if (outdated)
      return { state, message: `${what} is paused: a new pod template waits for \`weft rollout resume\`` };
    if (n.updated < n.replicas)
      return {
        state,
        message: `${wait}: ${n.updated} out of ${n.replicas} new replicas have been updated...`,
      };
    if (n.current > n.updated)
      return { state, message: `${wait}: ${n.current - n.updated} old replicas are pending termination...` };
    if (n.available < n.updated)
      return { state, message: `${wait}: ${n.available} of ${n.updated} updated replicas are available...` };
    return { state: "complete", message: `${what} successfully rolled out` };
  }

  get operations(): Partial<ControllerOperations> {
    const { kind } = this.#object;
    if (kind === "ReplicaSet") return { scale: (n) => this.#scale(n) };
    if (kind === "DaemonSet") return this.#rollouts();
    if (kind !== "Deployment") return {};
    return {
      ...this.#rollouts(),
      pause: () => this.#then(() => this.#revisions.setPaused(this.#object, true, this.#spec.paused)),
      resume: () => this.#then(() => this.#revisions.setPaused(this.#object, false, this.#spec.paused)),
      scale: (n) => this.#scale(n),
    };
  }

  #rollouts(): Pick<ControllerOperations, "history" | "restart" | "undo"> {
    return {
      history: () => this.#revisions.history(),
      restart: () => {
        if (this.#paused) refuse(409, `can't restart paused ${spoken(this.#object)}: resume it first`);
        return this.#then(() => this.#revisions.restart(this.#object, this.#context.clock.now()));
      },
      undo: ({ toRevision = 0 }: UndoRequest) => {
        if (this.#paused) refuse(409, `cannot roll back paused ${spoken(this.#object)}: resume it first`);
        return this.#then(() => this.#revisions.undo(this.#object, toRevision));
      },
    };
  }

  #scale(replicas: number): Done {
    return this.#then(() =>
      scaleByHand(this.#object, this.#autoscaled, () =>
        this.#revisions.scale(this.#object, replicas, this.#spec.replicas),
      ),
    );
  }

  #then(operation: () => Done): Done {
    const done = operation();
    this.#context.poke();
    return done;
  }
}
