import type { WorkloadStatus } from "./contract.ts";
import type { WorkloadRef } from "./control-socket.ts";
import { Autoscaler, type AutoscalerContext } from "./controllers/autoscaler.ts";
import {
  type Controller,
  type ControllerContext,
  type ControllerOperations,
  keyOf,
  refuse,
} from "./controllers/controller.ts";
import { isScalable } from "./controllers/scaling.ts";
import { statefulSetNames, statefulSetSpec } from "./controllers/stateful-set.ts";
import { PlatformError, type PlatformObject } from "./object.ts";
import type { OwnerKey } from "./pods.ts";
import { WORKLOAD_KINDS } from "./workload-kinds.ts";

/** A workload that could not be brought nearer (a full disk) is tried again after this. */
const RETRY_MS = 1_000;

/** Every workload of the mesh and its controller. */
export class Workloads {
  readonly #context: AutoscalerContext;
  readonly #controllers = new Map<OwnerKey, Controller>();
  /** What each could not do the last time. */
  readonly #troubles = new Map<OwnerKey, string>();

  constructor(context: ControllerContext & Pick<AutoscalerContext, "meter" | "periodMs">) {
    this.#context = {
      ...context,
      target: (key, asker) => {
        const found = this.#controllers.get(key);
        const first = [...this.#controllers.values()].find(
          (c) => c instanceof Autoscaler && c.targetKey === key,
        );
        if (first !== undefined && first.key !== asker) return first.key;
        return isScalable(found) ? found : undefined;
      },
    };
  }

  /** All errors of all manifests in one PlatformError, one line each. */
  static check(objects: readonly PlatformObject[]): void {
    const errors: string[] = [];
    for (const object of objects) {
      try {
        WORKLOAD_KINDS[object.kind]?.check(object);
      } catch (error) {
        if (!(error instanceof PlatformError)) throw error;
        errors.push(error.message);
      }
    }
    if (errors.length > 0) throw new PlatformError(errors.join("\n"));
  }

  /** Objects that `check` has passed. */
  update(objects: readonly PlatformObject[]): void {
    const wanted = new Map(objects.filter((o) => o.kind in WORKLOAD_KINDS).map((o) => [keyOf(o), o]));
    for (const [key, controller] of this.#controllers) {
      if (wanted.has(key)) continue;
      controller.remove();
      this.#controllers.delete(key);
      this.#troubles.delete(key);
    }
    this.#context.pods.reserve(new Set([...wanted.values()].flatMap(fixedNames)));
    for (const [key, object] of wanted) {
      const controller = this.#controllers.get(key);
      if (controller !== undefined) controller.update(object);
      else {
        const make = WORKLOAD_KINDS[object.kind]?.make;
        if (make !== undefined) this.#controllers.set(key, make(this.#context, object));
      }
    }
  }

  /** One pass over all. Does not reject: what goes wrong with one is logged once and tried again. */
  async reconcile(): Promise<void> {
    for (const [key, controller] of [...this.#controllers]) {
      try {
        await controller.reconcile();
        this.#troubles.delete(key);
      } catch (error) {
        const { message } = error as Error;
        if (this.#troubles.get(key) !== message)
          this.#context.log.error("a workload is not as it should be; tried again every second", {
            workload: key,
            error,
          });
        this.#troubles.set(key, message);
        this.#context.wakeAfter(RETRY_MS);
      }
    }
  }

  #all(): Controller[] {
    return [...this.#controllers.values()].flatMap((c) => [c, ...(c.children ?? [])]);
  }

  status(): WorkloadStatus[] {
    return this.#all().map((c) => {
      const status = c.status();
      return { ...status, trouble: status.trouble || (this.#troubles.get(c.key) ?? "") };
    });
  }

  /** Throws OperationError 404. */
  find({ kind, namespace, name }: WorkloadRef): Controller {
    const found = this.#all().find(({ key }) => key === `${kind}/${namespace}/${name}`);
    return found ?? refuse(404, `no ${kind} ${namespace}/${name} runs here`);
  }

  /** Throws OperationError 404, or 422 where the kind has no such operation. */
  operation<K extends keyof ControllerOperations>(ref: WorkloadRef, name: K): ControllerOperations[K] {
    const found = this.find(ref).operations[name];
    return found ?? refuse(422, `a ${ref.kind} has no ${name}`);
  }
}

/** Names that no other workload's pod may take. */
function fixedNames(object: PlatformObject): string[] {
  if (object.kind === "Pod") return [object.metadata.name];
  if (object.kind !== "StatefulSet") return [];
  return statefulSetNames(object, statefulSetSpec(object).replicas);
}
