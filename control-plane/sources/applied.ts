/** What `weft apply` brought: one file for each object below `applied/` of the state directory. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { FileLoader, type Loaded } from "#policies/index.ts";

/** Where objects from `weft apply` are kept. */
export const appliedDir = (stateDir: string): string => join(stateDir, "applied");

/** An applied object hides those of the same name from files; what the platform's own file says stands. */
export function overlay(objects: readonly Loaded[], platform: string | null): readonly Loaded[] {
  const isApplied = (o: Loaded) => o.origin.kind === "applied";
  const id = (o: Loaded) => JSON.stringify([o.key, o.namespace, o.name]);
  const applied = new Set(objects.filter(isApplied).map(id));
  return objects.filter((o) => isApplied(o) || o.source.file === platform || !applied.has(id(o)));
}

/** One file per object. The hash tells names apart that look the same once they are fit for a file system. */
export function copyOf({ source: s }: Loaded, stateDir: string): string {
  const id = JSON.stringify([s.group, s.kind, s.namespace, s.name]);
  const hash = createHash("sha256").update(id).digest("hex").slice(0, 16);
  const readable = `${s.kind}-${s.namespace}-${s.name}`.replace(/[^A-Za-z0-9-]/g, "_").slice(0, 100);
  return join(appliedDir(stateDir), `${readable}-${hash}.json`);
}

/** At once: a disk takes their flushes together, and the process goes on meanwhile. */
const TOGETHER = 64;

/** All temporary files first, so that a full disk changes nothing; the watcher does not see their names. */
export async function writeCopies(texts: ReadonlyMap<string, string>, stateDir: string): Promise<void> {
  mkdirSync(appliedDir(stateDir), { recursive: true, mode: 0o700 });
  const temporary = (file: string) => `${file}.tmp`;
  const left = [...texts];
  const writeSome = async (): Promise<void> => {
    for (let one = left.pop(); one !== undefined; one = left.pop())
      await writeFile(temporary(one[0]), one[1], { mode: 0o600, flush: true });
  };
  try {
    await Promise.all(Array.from({ length: TOGETHER }, writeSome));
    for (const file of texts.keys()) renameSync(temporary(file), file);
  } finally {
    for (const file of texts.keys()) rmSync(temporary(file), { force: true });
  }
}

/** What is kept, read without a control plane. `unreadable`: files of which no object can be made any more. */
export function readCopies(stateDir: string): { objects: readonly Loaded[]; unreadable: readonly string[] } {
  const folder = appliedDir(stateDir);
  const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".json")) : [];
  const objects: Loaded[] = [];
  const unreadable: string[] = [];
  for (const file of files.sort().map((name) => join(folder, name))) {
    const found = new FileLoader(file).loadCopy(readFileSync(file, "utf8")).objects;
    if (found.length === 0) unreadable.push(file);
    objects.push(...found);
  }
  return { objects, unreadable };
}
