import type { WorkloadStatus } from "../contract.ts";
import { Fields } from "../fields.ts";
import { type Json, list, type PlatformObject, record } from "../object.ts";
import type { OwnerKey } from "../pods.ts";
import { type Controller, type ControllerContext, keyOf } from "./controller.ts";
import { Job } from "./job.ts";
import { jobSpec } from "./job-spec.ts";
import { templateOf } from "./revisions.ts";
import { lastDue, readSchedule, type Schedule } from "./schedule.ts";

interface CronJobSpec {
  readonly schedule: Schedule;
  readonly text: string;
  readonly concurrency: "Allow" | "Forbid" | "Replace";
  readonly startingDeadlineSeconds: number | undefined;
  readonly suspend: boolean;
  readonly keepSuccessful: number;
  readonly keepFailed: number;
}

/** Defaults as Kubernetes'. Throws PlatformError. */
function cronJobSpec(object: PlatformObject): CronJobSpec {
  const spec = new Fields(object);
  return {
    schedule: readSchedule(object),
    text: spec.text("schedule", ""),
    concurrency: spec.oneOf("concurrencyPolicy", ["Allow", "Forbid", "Replace"], "Allow"),
    startingDeadlineSeconds: spec.whole("startingDeadlineSeconds", undefined),
    suspend: spec.flag("suspend"),
    keepSuccessful: spec.whole("successfulJobsHistoryLimit", 3),
    keepFailed: spec.whole("failedJobsHistoryLimit", 1),
  };
}

/** Throws PlatformError for a Job that could not run. */
export function checkCronJob(object: PlatformObject): void {
  cronJobSpec(object);
  const job = jobObject(object, object.metadata.name);
  jobSpec(object, new Fields(object, "spec.jobTemplate.spec", job.spec));
  templateOf(job);
}

/** What is remembered over restarts of the mesh: the Jobs as they were made, and the time that was served last (ISO). */
interface Saved {
  readonly created: string;
  readonly last?: string;
  readonly jobs: readonly { readonly name: string; readonly metadata: Json; readonly spec: unknown }[];
}

/** Makes a Job whenever its time has come. A time that passed while the mesh did not run is made up for once. */
export class CronJob implements Controller {
  readonly key: OwnerKey;
  readonly operations = {};
  readonly #context: ControllerContext;
  #object: PlatformObject;
  #spec: CronJobSpec;
  #saved: Saved;
  readonly #jobs = new Map<string, Job>();

  constructor(context: ControllerContext, object: PlatformObject) {
    this.key = keyOf(object);
    this.#context = context;
    this.#object = object;
    this.#spec = cronJobSpec(object);
    const read = record(context.store.read(this.key));
    const since = typeof read["created"] === "string" && !Number.isNaN(Date.parse(read["created"]));
    this.#saved =
      since && Array.isArray(read["jobs"])
        ? ({
            ...read,
            jobs: list(read["jobs"]).filter((j) => typeof j["name"] === "string"),
          } as unknown as Saved)
        : { created: iso(context.clock.now()), jobs: [] };
    for (const job of this.#saved.jobs) this.#jobs.set(job.name, new Job(context, this.#jobOf(job)));
  }

  #jobOf({ name, metadata, spec }: Saved["jobs"][number]): PlatformObject {
    return { ...jobObject(this.#object, name), metadata: { ...metadata, name }, spec };
  }

  update(object: PlatformObject): void {
    this.#object = object;
    this.#spec = cronJobSpec(object);
  }

  remove(): void {
    for (const job of this.#jobs.values()) job.remove();
    this.#context.store.forget(this.key);
  }

  #save(change: Partial<Saved>): void {
    const next = { ...this.#saved, ...change };
    this.#context.store.write(this.key, next);
    this.#saved = next;
  }

  /** Its Jobs, the oldest first. */
  get children(): readonly Job[] {
    return [...this.#jobs.values()];
  }

  async reconcile(): Promise<void> {
    // Known from the first look on, also if nothing is due for long.
    this.#save({});
    // The Jobs first: one that has finished makes room for the next.
    for (const job of this.children) await job.reconcile();
    await this.#due()?.reconcile();
    this.#forgetOld();
  }

  #active(): [string, Job][] {
    return [...this.#jobs].filter(([, job]) => job.finished === undefined);
  }

  /** The Job that was made, if one was due. */
  #due(): Job | undefined {
    const { clock, log, wakeAfter } = this.#context;
    const { schedule, concurrency, startingDeadlineSeconds, suspend } = this.#spec;
    if (suspend) return undefined;
    const now = clock.now();
    const next = schedule.next(now);
    if (next !== undefined) wakeAfter(next - now);
    const since = Date.parse(this.#saved.last ?? this.#saved.created);
    const due = lastDue(schedule, since, now);
    if (due === undefined) return undefined;
    if (startingDeadlineSeconds !== undefined && now - due > startingDeadlineSeconds * 1000) {
      log.warn("a CronJob missed its time by more than startingDeadlineSeconds", {
        workload: this.key,
        due: iso(due),
      });
      this.#save({ last: iso(due) });
      return undefined;
    }
    const active = this.#active();
    // Not served yet: when the one before has finished, within startingDeadlineSeconds, it is made up for.
    if (concurrency === "Forbid" && active.length > 0) return undefined;
    if (concurrency === "Replace") for (const [name] of active) this.#forget(name);
    // As Kubernetes names them: by the minute that was due. Only "@every 5s" can be due twice in one.
    const minute = Math.floor(due / 60_000);
    const name = [`${minute}`, `${minute}-${Math.floor(due / 1000) % 60}`]
      .map((end) => `${this.#object.metadata.name}-${end}`)
      .find((one) => !this.#jobs.has(one));
    if (name === undefined) return undefined;
    const { metadata, spec } = jobObject(this.#object, name);
    const job = { name, metadata: { ...metadata }, spec };
    this.#save({ last: iso(due), jobs: [...this.#saved.jobs, job] });
    const made = new Job(this.#context, this.#jobOf(job));
    this.#jobs.set(name, made);
    return made;
  }

  #forgetOld(): void {
    const limits = { Complete: this.#spec.keepSuccessful, Failed: this.#spec.keepFailed };
    for (const [type, keep] of Object.entries(limits)) {
      const finished = [...this.#jobs].filter(([, job]) => job.finished?.type === type);
      for (const [name] of finished.slice(0, Math.max(0, finished.length - keep))) this.#forget(name);
    }
    for (const [name, job] of [...this.#jobs]) if (job.expired) this.#forget(name);
  }

  #forget(name: string): void {
    const job = this.#jobs.get(name);
    this.#save({ jobs: this.#saved.jobs.filter((j) => j.name !== name) });
    this.#jobs.delete(name);
    job?.remove();
  }

  status(): WorkloadStatus {
    const { metadata, source } = this.#object;
    const { last } = this.#saved;
    const { suspend, schedule, text } = this.#spec;
    const next = suspend ? undefined : schedule.next(this.#context.clock.now());
    const active = this.#active().map(([name]) => name);
    return {
      kind: "CronJob",
      namespace: metadata.namespace ?? "default",
      name: metadata.name,
      ...(source === undefined ? {} : { source }),
      ready: true,
      desired: 0,
      current: active.length,
      updated: active.length,
      readyPods: 0,
      available: 0,
      revision: 0,
      paused: suspend,
      conditions: [],
      trouble: "",
      cron: {
        schedule: text,
        suspended: suspend,
        active,
        ...(last === undefined ? {} : { lastSchedule: last }),
        ...(next === undefined ? {} : { nextSchedule: iso(next) }),
      },
      changed: [],
    };
  }
}

function jobObject({ metadata, spec, source }: PlatformObject, name: string): PlatformObject {
  const template = record(record(spec)["jobTemplate"]);
  const { labels, annotations } = record(template["metadata"]) as PlatformObject["metadata"];
  return {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: {
      name,
      ...(metadata.namespace === undefined ? {} : { namespace: metadata.namespace }),
      ...(labels === undefined ? {} : { labels }),
      ...(annotations === undefined ? {} : { annotations }),
    },
    spec: template["spec"],
    ...(source === undefined ? {} : { source }),
  };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
