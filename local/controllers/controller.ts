import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { Condition, Done, RolloutHistory, UndoRequest, WorkloadStatus } from "../contract.ts";
import { OperationError } from "../control-socket.ts";
import type { PlatformObject } from "../object.ts";
import type { OwnerKey, Pods } from "../pods.ts";
import type { WorkloadStore } from "../workload-store.ts";

export interface ControllerContext {
  readonly pods: Pods;
  readonly store: WorkloadStore;
  readonly clock: Clock;
  readonly log: Logger;
  /** Removes the folder of a PersistentVolumeClaim with all that is in it. */
  readonly removeClaim: (namespace: string, claim: string) => void;
  /** Asks to be called again after so many milliseconds, whatever happens until then. */
  readonly wakeAfter: (ms: number) => void;
  /** Asks to be called again now. */
  readonly poke: () => void;
}

/**
 * Brings one workload from what is to what is wanted. It is level-triggered: `reconcile` looks at the pods that are there,
 * takes the steps that are possible now, and is called again after every change.
 */
export interface Controller {
  readonly key: OwnerKey;
  /** The manifest as it is now. It has been read before: this does not fail. */
  update(object: PlatformObject): void;
  reconcile(): Promise<void>;
  status(): WorkloadStatus;
  /** The manifest is gone: so are its pods and what was remembered. */
  remove(): void;
  /** Workloads that it made: a CronJob's Jobs. */
  readonly children?: readonly Controller[];
  /** What `weft rollout` and `weft scale` ask; without it the kind cannot. */
  readonly operations: Partial<ControllerOperations>;
}

export interface ControllerOperations {
  history(): RolloutHistory;
  restart(): Done;
  pause(): Done;
  resume(): Done;
  undo(request: UndoRequest): Done;
  scale(replicas: number): Done;
}

/** As kubectl names things: "deployment.apps/web". */
export function spoken({ kind, metadata }: PlatformObject): string {
  const group = kind === "Job" || kind === "CronJob" ? ".batch" : kind === "Pod" ? "" : ".apps";
  return `${kind.toLowerCase()}${group}/${metadata.name}`;
}

export function keyOf({ kind, metadata }: PlatformObject): OwnerKey {
  return `${kind}/${metadata.namespace ?? "default"}/${metadata.name}` as OwnerKey;
}

/** Conditions of one workload; `since` moves only when the status does. */
export class Conditions {
  readonly #clock: Clock;
  readonly #byType = new Map<string, Condition>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get list(): readonly Condition[] {
    return [...this.#byType.values()];
  }
  get(type: string): Condition | undefined {
    return this.#byType.get(type);
  }
  set(type: string, status: Condition["status"], reason: string, message: string): void {
    const former = this.#byType.get(type);
    const since = former?.status === status ? former.since : new Date(this.#clock.now()).toISOString();
    this.#byType.set(type, { type, status, reason, message, since });
  }
  clear(type: string): void {
    this.#byType.delete(type);
  }
}

/** Ends an operation with what its caller is told; `status` is that of contracts.md. */
export function refuse(status: OperationError["status"], message: string): never {
  throw new OperationError(status, message);
}
