import type { WorkloadStatus } from "../contract.ts";
import { type PlatformObject, record } from "../object.ts";
import type { OwnedPod, OwnerKey } from "../pods.ts";
import { Conditions, type Controller, type ControllerContext, keyOf, spoken } from "./controller.ts";
import { type JobSpec, jobSpec } from "./job-spec.ts";
import { templateOf } from "./revisions.ts";

/** What is remembered of a Job over restarts of the mesh. Times are ISO. */
interface Saved {
  /** Of the pod template: another one is another run. */
  readonly hash: string;
  readonly started?: string | undefined;
  readonly succeeded: number;
  readonly failed: number;
  /** Indexed: which indexes are done, and how often each failed. */
  readonly done: readonly number[];
  readonly failures: Readonly<Record<string, number>>;
  readonly finished?: {
    readonly type: "Complete" | "Failed";
    readonly reason: string;
    readonly message: string;
    readonly at: string;
  };
  /** Its ttl is over: its pods are no longer shown. */
  readonly expired?: boolean;
}

/** Waits before a failed pod is replaced; as a container's restarts: the first at once, then as Kubernetes, doubled. */
const RETRY_MS = [100, 10_000, 20_000, 40_000, 80_000, 160_000, 360_000];

/** Runs pods until enough of them have succeeded. What has finished does not run again. */
export class Job implements Controller {
  readonly key: OwnerKey;
  readonly operations = {};
  readonly #context: ControllerContext;
  readonly #conditions: Conditions;
  #object: PlatformObject;
  #spec: JobSpec;
  #saved: Saved;
  /** Pods whose end is in #saved. */
  readonly #counted = new WeakSet<OwnedPod>();
  /** Monotonic ms before which no failed pod is replaced. */
  #notBefore = 0;
  #rerun = false;

  constructor(context: ControllerContext, object: PlatformObject) {
    this.key = keyOf(object);
    this.#context = context;
    this.#object = object;
    this.#spec = jobSpec(object);
    this.#conditions = new Conditions(context.clock);
    this.#saved = readSaved(context.store.read(this.key)) ?? this.#fresh();
    this.#tell();
  }

  #fresh(): Saved {
    const { hash } = templateOf(this.#object).pod;
    return { hash, succeeded: 0, failed: 0, done: [], failures: {} };
  }

  update(object: PlatformObject): void {
    this.#object = object;
    this.#spec = jobSpec(object);
  }

  remove(): void {
    this.#context.store.forget(this.key);
    for (const pod of this.#context.pods.of(this.key)) void this.#context.pods.remove(pod);
  }

  /** Complete, Failed, or undefined while it goes on. */
  get finished(): Saved["finished"] {
    return this.#saved.finished;
  }
  get expired(): boolean {
    return this.#saved.expired ?? false;
  }
  get active(): number {
    return this.#active().length;
  }

  #save(change: Partial<Saved>): void {
    const next = { ...this.#saved, ...change };
    this.#context.store.write(this.key, next);
    this.#saved = next;
  }

  #pods(): OwnedPod[] {
    return this.#context.pods.of(this.key).filter((p) => !p.pod.stopping);
  }
  #active(): OwnedPod[] {
    return this.#pods().filter((p) => p.pod.phase === "Pending" || p.pod.phase === "Running");
  }

  async reconcile(): Promise<void> {
    const { clock, pods, log } = this.#context;
    const { hash } = templateOf(this.#object).pod;
    if (this.#saved.hash !== hash) {
      // On Kubernetes the template of a Job cannot change; here the file is the truth, so it is another Job.
      log.warn("the pod template of a Job has changed: it runs anew", { workload: this.key });
      for (const pod of this.#pods()) void pods.remove(pod);
      const fresh = this.#fresh();
      this.#context.store.write(this.key, fresh);
      this.#saved = fresh;
      this.#rerun = true;
      this.#notBefore = 0;
    }
    this.#count();
    if (this.#saved.finished === undefined) {
      if (this.#spec.suspend) {
        for (const pod of this.#active()) void pods.remove(pod);
        if (this.#saved.started !== undefined) this.#save({ started: undefined });
      } else {
        if (this.#saved.started === undefined) this.#save({ started: iso(clock.now()) });
        const verdict = this.#verdict();
        if (verdict === undefined) await this.#run();
        else {
          this.#save({ finished: { ...verdict, at: iso(clock.now()) } });
          for (const pod of this.#active()) void pods.remove(pod);
          if (verdict.type === "Failed")
            log.error("a Job failed", {
              workload: this.key,
              reason: verdict.reason,
              message: verdict.message,
            });
        }
      }
    }
    this.#expire();
    this.#tell();
  }

  /** Takes note of pods that have ended since. */
  #count(): void {
    const { clock } = this.#context;
    for (const pod of this.#pods()) {
      const { phase } = pod.pod;
      if (this.#counted.has(pod) || (phase !== "Succeeded" && phase !== "Failed")) continue;
      const { succeeded, failed, done, failures } = this.#saved;
      const index = pod.ordinal;
      if (phase === "Succeeded")
        this.#save({
          succeeded: succeeded + 1,
          ...(index === undefined ? {} : { done: [...new Set([...done, index])].sort((a, b) => a - b) }),
        });
      else {
        this.#save({
          failed: failed + 1,
          ...(index === undefined ? {} : { failures: { ...failures, [index]: (failures[index] ?? 0) + 1 } }),
        });
        this.#notBefore = clock.monotonic() + (RETRY_MS[Math.min(failed, RETRY_MS.length - 1)] ?? 0);
      }
      this.#counted.add(pod);
    }
  }

  /** How it has finished; undefined: it goes on. */
  #verdict(): Omit<NonNullable<Saved["finished"]>, "at"> | undefined {
    const { completions, backoffLimit, activeDeadlineSeconds, maxFailedIndexes } = this.#spec;
    const { succeeded, failed, started, done } = this.#saved;
    const gaveUp = this.#givenUp();
    const fail = (reason: string, message: string) => ({ type: "Failed" as const, reason, message });
    if (this.#deadlineIn(started) <= 0)
      return fail("DeadlineExceeded", `it was active longer than ${activeDeadlineSeconds} s`);
    // With restartPolicy OnFailure its containers are restarted in their pod; that counts as well.
    const restarts = this.#active().reduce(
      (sum, { pod }) =>
        sum + pod.processes.reduce((n, p) => n + (p.spec.name === "istio-proxy" ? 0 : p.restarts), 0),
      0,
    );
    if (failed + restarts > backoffLimit)
      return fail("BackoffLimitExceeded", `it failed ${failed + restarts} times: ${this.#lastFailure()}`);
    if (maxFailedIndexes !== undefined && gaveUp.size > maxFailedIndexes)
      return fail("MaxFailedIndexesExceeded", `${gaveUp.size} indexes failed, more than ${maxFailedIndexes}`);
    const ended = this.#active().length === 0;
    const complete = {
      type: "Complete" as const,
      reason: "CompletionsReached",
      message: "Reached expected number of succeeded pods",
    };
    if (completions === undefined) return succeeded > 0 && ended ? complete : undefined;
    if (!this.#spec.indexed) return succeeded >= completions ? complete : undefined;
    const good = done.filter((index) => index < completions).length;
    if (good >= completions) return complete;
    if (gaveUp.size > 0 && good + gaveUp.size >= completions && ended)
      return fail("FailedIndexes", `indexes failed: ${[...gaveUp].join(",")}`);
    return undefined;
  }

  /** Ms until activeDeadlineSeconds is over. */
  #deadlineIn(started: string | undefined): number {
    const { activeDeadlineSeconds } = this.#spec;
    if (activeDeadlineSeconds === undefined || started === undefined) return Number.POSITIVE_INFINITY;
    return Date.parse(started) + activeDeadlineSeconds * 1000 - this.#context.clock.now();
  }

  #givenUp(): Set<number> {
    const { backoffLimitPerIndex, completions = 0 } = this.#spec;
    if (backoffLimitPerIndex === undefined) return new Set();
    const failures = Object.entries(this.#saved.failures);
    return new Set(
      failures
        .filter(([i, n]) => n > backoffLimitPerIndex && Number(i) < completions)
        .map(([i]) => Number(i)),
    );
  }

  #lastFailure(): string {
    const failed = this.#pods().findLast((p) => p.pod.phase === "Failed") ?? this.#pods().at(-1);
    const exit = failed?.pod.processes.find((p) => p.lastExit !== undefined)?.lastExit;
    return failed === undefined ? "" : `${failed.name}: ${exit ?? "it failed"}`;
  }

  async #run(): Promise<void> {
    const { clock, wakeAfter, pods } = this.#context;
    const { completions, parallelism, indexed } = this.#spec;
    const { succeeded, done } = this.#saved;
    const deadline = this.#deadlineIn(this.#saved.started);
    if (deadline < Number.POSITIVE_INFINITY) wakeAfter(deadline);
    const active = this.#active();
    for (const pod of active.slice(parallelism)) void pods.remove(pod);
    const wait = this.#notBefore - clock.monotonic();
    if (wait > 0) return wakeAfter(wait);
    if (indexed) {
      const busy = new Set([...active.map((p) => p.ordinal), ...done, ...this.#givenUp()]);
      let free = parallelism - active.length;
      for (let index = 0; index < (completions ?? 0) && free > 0; index++) {
        if (busy.has(index)) continue;
        await this.#create(index);
        free--;
      }
      return;
    }
    const wanted =
      completions === undefined
        ? succeeded > 0
          ? active.length
          : parallelism
        : Math.min(parallelism, completions - succeeded);
    for (let n = active.length; n < wanted; n++) await this.#create(undefined);
  }

  async #create(index: number | undefined): Promise<void> {
    const { pods } = this.#context;
    const { name } = this.#object.metadata;
    const { pod } = templateOf(this.#object);
    const indexKey = "batch.kubernetes.io/job-completion-index";
    const extra: Record<string, string> = index === undefined ? {} : { [indexKey]: String(index) };
    const env = { name: "JOB_COMPLETION_INDEX", from: { value: String(index) } };
    const indexEnv = <C extends { env: readonly unknown[] }>(c: C): C =>
      index === undefined ? c : { ...c, env: [env, ...c.env] };
    await pods.create({
      owner: this.key,
      name: pods.freeName(index === undefined ? name : `${name}-${index}`),
      template: {
        ...pod,
        labels: { ...pod.labels, "batch.kubernetes.io/job-name": name, "job-name": name, ...extra },
        annotations: { ...pod.annotations, ...extra },
        containers: pod.containers.map(indexEnv),
        initContainers: pod.initContainers.map(indexEnv),
        hostname: pod.hostname ?? (index === undefined ? undefined : `${name}-${index}`),
      },
      hash: pod.hash,
      revision: 0,
      ...(index === undefined ? {} : { ordinal: index }),
    });
  }

  #expire(): void {
    const { finished, expired } = this.#saved;
    const { ttlSecondsAfterFinished } = this.#spec;
    if (finished === undefined || expired === true || ttlSecondsAfterFinished === undefined) return;
    const { clock, wakeAfter, pods } = this.#context;
    const left = Date.parse(finished.at) + ttlSecondsAfterFinished * 1000 - clock.now();
    if (left > 0) wakeAfter(left);
    else {
      for (const pod of this.#pods()) void pods.remove(pod);
      this.#save({ expired: true });
    }
  }

  #tell(): void {
    const { finished } = this.#saved;
    for (const type of ["Complete", "Failed"])
      if (finished?.type === type) this.#conditions.set(type, "True", finished.reason, finished.message);
      else this.#conditions.clear(type);
    if (finished !== undefined) return;
    if (this.#spec.suspend) this.#conditions.set("Suspended", "True", "JobSuspended", "Job suspended");
    else if (this.#conditions.get("Suspended") !== undefined)
      this.#conditions.set("Suspended", "False", "JobResumed", "Job resumed");
  }

  status(): WorkloadStatus {
    const { metadata, source } = this.#object;
    const { succeeded, failed, done, finished, started } = this.#saved;
    const { completions, indexed, parallelism, suspend } = this.#spec;
    const active = this.#active();
    const wanted = completions ?? parallelism;
    return {
      kind: "Job",
      namespace: metadata.namespace ?? "default",
      name: metadata.name,
      ...(source === undefined ? {} : { source }),
      // It has begun: how long it goes on is its own affair.
      ready:
        finished !== undefined ||
        suspend ||
        succeeded + failed > 0 ||
        active.some((p) => p.pod.phase === "Running"),
      desired: wanted,
      current: active.length,
      updated: active.length,
      readyPods: active.filter((p) => p.readySince !== undefined).length,
      available: indexed ? done.length : succeeded,
      revision: 0,
      paused: suspend,
      conditions: this.#conditions.list,
      trouble:
        finished?.type === "Failed"
          ? `${spoken(this.#object)} failed (${finished.reason}): ${finished.message}`
          : "",
      job: {
        active: active.length,
        succeeded: indexed ? done.length : succeeded,
        failed,
        ...(started === undefined ? {} : { started }),
        ...(finished === undefined ? {} : { finished: finished.at }),
      },
      changed: this.#rerun ? ["its pod template has changed: it runs anew"] : [],
    };
  }
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}

/** Undefined: nothing is known, or what is there makes no sense. */
function readSaved(value: unknown): Saved | undefined {
  const saved = record(value) as Partial<Saved>;
  const whole =
    typeof saved.hash === "string" &&
    Number.isInteger(saved.succeeded) &&
    Number.isInteger(saved.failed) &&
    Array.isArray(saved.done);
  return whole ? { ...(saved as Saved), failures: record(saved.failures) as Saved["failures"] } : undefined;
}
