import { createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type Issue, type Loaded, load, sayIssue, validate } from "#policies/index.ts";
import type { Config } from "../config.ts";
import { toWorld } from "../pipeline.ts";
import { appliedDir } from "../sources/applied.ts";

export class AdminError extends Error {
  readonly status: number;
  readonly errors: readonly string[];
  constructor(status: number, errors: readonly string[]) {
    super(errors.join("\n"));
    this.status = status;
    this.errors = errors;
  }
}

export const nameOf = (o: Loaded): string => {
  const { kind, namespace, name } = o.source;
  return namespace === "" ? `${kind} ${name}` : `${kind} ${namespace}/${name}`;
};

/** Checks the text with the rest of the world, then writes it below applied/. Throws AdminError and changes nothing. */
export function applyObjects(text: string, current: readonly Loaded[], config: Config): string[] {
  const body = load(text, "request");
  refuse(body.issues);
  if (body.objects.length === 0) throw new AdminError(422, ["request: no object in it"]);
  const files = new Map<string, Loaded>();
  for (const o of body.objects) {
    const file = fileOf(o, config);
    if (files.has(file)) throw new AdminError(422, [`request:${o.source.line}: ${nameOf(o)} is in it twice`]);
    files.set(file, o);
  }
  // As it will be loaded from applied/.
  const texts = new Map([...files].map(([file, o]) => [file, serialize(o, createdOf(o, file, current))]));
  const incoming = [...texts].flatMap(([file, content]) => {
    const again = load(content, file);
    refuse(again.issues);
    return again.objects;
  });
  const rest = current.filter((o) => !files.has(o.source.file));
  try {
    refuse(validate(toWorld([...rest, ...incoming], config)));
  } catch (error) {
    throw error instanceof AdminError ? error : new AdminError(422, [(error as Error).message]);
  }
  writeAll(texts, config);
  return body.objects.map(nameOf);
}

/** Takes back what applyObjects wrote. `kind` may carry its group: Gateway.networking.istio.io. */
export function deleteObject(
  wanted: { readonly kind: string; readonly namespace: string; readonly name: string },
  current: readonly Loaded[],
  config: Config,
): string {
  const found = current.filter(
    ({ source: s }) =>
      (s.kind === wanted.kind || `${s.kind}.${s.group}` === wanted.kind) &&
      (s.namespace === wanted.namespace || s.namespace === "") &&
      s.name === wanted.name,
  );
  const label = `${wanted.kind} ${wanted.namespace}/${wanted.name}`;
  if (found.length === 0) throw new AdminError(404, [`${label}: no such object`]);
  // By file: the object from paths that an applied one hides has the same.
  const ours = [...new Map(found.map((o) => [fileOf(o, config), o]))]
    .filter(([file]) => existsSync(file))
    .map(([, o]) => o);
  const [first] = ours;
  if (first === undefined) {
    const { file, line } = found[0]!.source;
    throw new AdminError(409, [`${label} was not applied: it comes from ${file}:${line}; remove it there`]);
  }
  if (ours.length > 1) {
    const names = ours.map(({ source: s }) => `${s.kind}.${s.group}`).join(" or ");
    throw new AdminError(409, [`${label} is more than one object: say ${names}`]);
  }
  rmSync(fileOf(first, config));
  return nameOf(first);
}

function refuse(issues: readonly Issue[]): void {
  const errors = issues.filter((i) => i.level === "error").map(sayIssue);
  if (errors.length > 0) throw new AdminError(422, errors);
}

/** One file per object. The hash tells names apart that look the same once they are fit for a file system. */
function fileOf({ source: s }: Loaded, config: Config): string {
  const id = JSON.stringify([s.group, s.kind, s.namespace, s.name]);
  const hash = createHash("sha256").update(id).digest("hex").slice(0, 16);
  const readable = `${s.kind}-${s.namespace}-${s.name}`.replace(/[^A-Za-z0-9-]/g, "_").slice(0, 100);
  return join(appliedDir(config.stateDir), `${readable}-${hash}.json`);
}

let last = 0;
/** Of two applies one after the other the first is the older, however fast they come. */
function now(): string {
  last = Math.max(Date.now(), last + 1);
  return new Date(last).toISOString();
}

/**
 * Which of two policies counts is often decided by age (Istio: the oldest wins), so what is applied again keeps its
 * time of creation, and what hides an object from a file keeps that one's. "" = none was known.
 */
function createdOf(o: Loaded, file: string, current: readonly Loaded[]): string {
  const same = current.filter((c) => c.key === o.key && c.namespace === o.namespace && c.name === o.name);
  const before = same.find((c) => c.source.file === file) ?? same[0];
  return before === undefined ? o.created || now() : before.created;
}

function serialize(o: Loaded, created: string): string {
  const metadata = {
    ...(o.raw["metadata"] as object),
    ...(o.namespace && { namespace: o.namespace }),
    creationTimestamp: created === "" ? undefined : created,
  };
  return `${JSON.stringify({ ...o.raw, metadata }, null, 2)}\n`;
}

/** All temporary files first, so that a full disk changes nothing; the watcher does not see their names. */
function writeAll(texts: ReadonlyMap<string, string>, config: Config): void {
  mkdirSync(appliedDir(config.stateDir), { recursive: true, mode: 0o700 });
  const temporary = (file: string) => `${file}.tmp`;
  try {
    for (const [file, content] of texts) {
      const fd = openSync(temporary(file), "w", 0o600);
      try {
        writeFileSync(fd, content);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
    }
    for (const file of texts.keys()) renameSync(temporary(file), file);
  } finally {
    for (const file of texts.keys()) rmSync(temporary(file), { force: true });
  }
}
