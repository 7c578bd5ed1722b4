import type { Done, RolloutHistory } from "../contract.ts";
import { type Json, list, type PlatformObject, record, stringMap } from "../object.ts";
import type { OwnerKey } from "../pods.ts";
import { type PodTemplate, readTemplate } from "../spec.ts";
import type { WorkloadStore } from "../workload-store.ts";
import { refuse, spoken } from "./controller.ts";

interface Revision {
  readonly revision: number;
  readonly hash: string;
  readonly created: string;
  readonly changeCause: string;
  readonly template: Json;
}

interface Saved {
  readonly revisions: readonly Revision[];
  /** What new pods were made of when no rollout was under way (StatefulSets with a partition). */
  readonly settled?: string;
  readonly restartedAt?: string;
  readonly paused?: { readonly file: boolean; readonly value: boolean } | undefined;
  readonly undo?: { readonly template: Json; readonly fileHash: string } | undefined;
  readonly scale?: { readonly value: number; readonly file: number } | undefined;
}

/** A pod template as written, and as the platform reads it. */
export interface Template {
  readonly raw: Json;
  readonly pod: PodTemplate;
}

const RESTARTED = "kubectl.kubernetes.io/restartedAt";
const CHANGE_CAUSE = "kubernetes.io/change-cause";

/**
 * What a workload ran, and what was changed past its file, kept in the state directory: a restart stays (an annotation of
 * the template, as kubectl makes it), an undo until the file's template changes, a scale until its `replicas` does.
 */
export class Revisions {
  readonly #store: WorkloadStore;
  readonly #key: OwnerKey;
  #saved: Saved;

  constructor(store: WorkloadStore, key: OwnerKey) {
    this.#store = store;
    this.#key = key;
    this.#saved = readSaved(store.read(key));
  }

  /** Kept first, believed then: an operation that cannot be written (a full disk) has not happened. */
  #save(change: Partial<Saved>): void {
    const next = { ...this.#saved, ...change };
    this.#store.write(this.#key, next);
    this.#saved = next;
  }

  /** What pods are to be made of: the file's template, or what an undo or a restart made of it. */
  wanted(object: PlatformObject): Template {
    const written = templateOf(object);
    const { undo, restartedAt } = this.#saved;
    if (undo?.fileHash === written.pod.hash) return read(object, undo.template);
    if (restartedAt === undefined) return written;
    return read(object, annotated(written.raw, restartedAt));
  }

  get newest(): Revision | undefined {
    return this.#saved.revisions.at(-1);
  }

  numberOf(hash: string): number {
    return this.#saved.revisions.findLast((r) => r.hash === hash)?.revision ?? 0;
  }

  /** The template of a revision that is kept. */
  template(object: PlatformObject, hash: string): Template | undefined {
    const found = this.#saved.revisions.findLast((r) => r.hash === hash);
    return found && read(object, found.template);
  }

  /** Forgets what was changed past the file where the file has changed since. */
  follow(object: PlatformObject, file: { readonly replicas: number; readonly paused: boolean }): void {
    const { undo, scale, paused } = this.#saved;
    const stale = {
      ...(undo !== undefined && undo.fileHash !== templateOf(object).pod.hash ? { undo: undefined } : {}),
      ...(scale !== undefined && scale.file !== file.replicas ? { scale: undefined } : {}),
      ...(paused !== undefined && paused.file !== file.paused ? { paused: undefined } : {}),
    };
    if (Object.keys(stale).length > 0) this.#save(stale);
  }

  /** Makes the template the newest revision, if it is not; beside it `limit` older ones are kept. */
  record(object: PlatformObject, { raw, pod }: Template, nowMs: number, limit: number): void {
    if (this.newest?.hash === pod.hash) return;
    const older = this.#saved.revisions.filter((r) => r.hash !== pod.hash);
    const revision: Revision = {
      revision: (this.newest?.revision ?? 0) + 1,
      hash: pod.hash,
      created: new Date(nowMs).toISOString(),
      changeCause: object.metadata.annotations?.[CHANGE_CAUSE] ?? "",
      template: raw,
    };
    this.#save({ revisions: [...older.slice(Math.max(0, older.length - limit)), revision] });
  }

  /** The revision of which pods are that no rollout has reached. */
  get settled(): string | undefined {
    return this.#saved.settled;
  }
  settle(hash: string): void {
    if (this.#saved.settled !== hash) this.#save({ settled: hash });
  }

  replicas(file: number): number {
    const { scale } = this.#saved;
    return scale?.file === file ? scale.value : file;
  }

  paused(file: boolean): boolean {
    const { paused } = this.#saved;
    return paused?.file === file ? paused.value : file;
  }

  history(): RolloutHistory {
    const current = this.newest?.revision;
    return {
      revisions: this.#saved.revisions.map((r) => ({ ...r, current: r.revision === current })),
    };
  }

  scale(object: PlatformObject, value: number, file: number): Done {
    this.#save({ scale: { value, file } });
    return {
      message: `${spoken(object)} scaled`,
      note: value === file ? "" : `it holds until spec.replicas changes in ${fileOf(object)}`,
    };
  }

  setPaused(object: PlatformObject, value: boolean, file: boolean): Done {
    if (this.paused(file) === value)
      refuse(409, `${spoken(object)} ${value ? "is already paused" : "is not paused"}`);
    this.#save({ paused: { value, file } });
    const until = value ? "`weft rollout resume`" : `spec.paused changes in ${fileOf(object)}`;
    return {
      message: `${spoken(object)} ${value ? "paused" : "resumed"}`,
      note: value === file ? "" : `it holds until ${until}`,
    };
  }

  restart(object: PlatformObject, nowMs: number): Done {
    const restartedAt = new Date(nowMs).toISOString();
    const { undo } = this.#saved;
    this.#save({
      restartedAt,
      ...(undo === undefined ? {} : { undo: { ...undo, template: annotated(undo.template, restartedAt) } }),
    });
    return { message: `${spoken(object)} restarted`, note: "" };
  }

  undo(object: PlatformObject, toRevision: number): Done {
    const { revisions } = this.#saved;
    const found =
      toRevision === 0 ? revisions.at(-2) : revisions.find(({ revision }) => revision === toRevision);
    if (found === undefined)
      refuse(
        404,
        toRevision === 0
          ? `${spoken(object)} has no former revision`
          : `${spoken(object)} has no revision ${toRevision}; there are ${revisions.map((r) => r.revision).join(", ")}`,
      );
    if (found === revisions.at(-1))
      return {
        message: `${spoken(object)} skipped rollback (current template already matches revision ${found.revision})`,
        note: "",
      };
    const written = templateOf(object).pod.hash;
    this.#save({ undo: { template: found.template, fileHash: written } });
    return {
      message: `${spoken(object)} rolled back`,
      note:
        found.hash === written
          ? ""
          : `${fileOf(object)} says otherwise: revision ${found.revision} runs until its pod template changes there`,
    };
  }

  /** For `changed` of a status. */
  changed(object: PlatformObject, file: { readonly replicas: number; readonly paused: boolean }): string[] {
    const { undo, restartedAt } = this.#saved;
    const said: string[] = [];
    const written = templateOf(object).pod.hash;
    if (undo?.fileHash === written && this.newest?.hash !== written)
      said.push(`rolled back, until the pod template changes in ${fileOf(object)}`);
    if (restartedAt !== undefined) said.push(`restarted at ${restartedAt}`);
    const replicas = this.replicas(file.replicas);
    if (replicas !== file.replicas)
      said.push(`scaled to ${replicas}, until spec.replicas (${file.replicas}) changes in ${fileOf(object)}`);
    if (this.paused(file.paused) !== file.paused)
      said.push(file.paused ? "resumed past its file" : "paused, until `weft rollout resume`");
    return said;
  }

  forget(): void {
    this.#store.forget(this.#key);
  }
}

const templates = new WeakMap<PlatformObject, Template>();

/** The template as the file has it. */
export function templateOf(object: PlatformObject): Template {
  const known = templates.get(object);
  if (known !== undefined) return known;
  const bare = { metadata: object.metadata, spec: object.spec };
  const template = read(object, object.kind === "Pod" ? bare : record(record(object.spec)["template"]));
  templates.set(object, template);
  return template;
}

function read(object: PlatformObject, raw: Json): Template {
  return { raw, pod: readTemplate(object, record(raw["metadata"]), record(raw["spec"])) };
}

function annotated(raw: Json, restartedAt: string): Json {
  const metadata = record(raw["metadata"]);
  const annotations = { ...stringMap(metadata["annotations"]), [RESTARTED]: restartedAt };
  return { ...raw, metadata: { ...metadata, annotations } };
}

function fileOf({ source }: PlatformObject): string {
  return source === undefined ? "its file" : source.file;
}

/** What of a file that was damaged makes sense. */
function readSaved(value: unknown): Saved {
  const saved = record(value) as Partial<Saved>;
  const { restartedAt, settled } = saved;
  const revisions = list(saved.revisions).filter(
    (r) => typeof r["revision"] === "number" && typeof r["hash"] === "string",
  ) as unknown as Revision[];
  const { paused, undo, scale } = saved;
  return {
    revisions: revisions.map((r) => ({ ...r, template: record(r.template) })),
    ...(typeof settled === "string" ? { settled } : {}),
    ...(typeof restartedAt === "string" ? { restartedAt } : {}),
    ...(typeof record(paused)["value"] === "boolean" ? { paused } : {}),
    ...(typeof record(undo)["fileHash"] === "string" ? { undo } : {}),
    ...(typeof record(scale)["value"] === "number" ? { scale } : {}),
  };
}
