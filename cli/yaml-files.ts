import { statSync } from "node:fs";
import { relative, resolve } from "node:path";
import { readOpened, withFile } from "#control-plane/sources/read-text.ts";
import { walk } from "#control-plane/sources/walk.ts";
import { checkObjects } from "#local/index.ts";
import {
  buildWorld,
  type Issue,
  type Loaded,
  type LoadResult,
  load,
  tooLarge,
  validate,
} from "#policies/index.ts";
import { UserError } from "./errors.ts";
import { toPlatformObject } from "./platform-objects.ts";

/** A file as it is named; a folder's YAML and JSON files, recursively, sorted. */
export function yamlFiles(path: string, cwd: string): string[] {
  const stat = reading(path, () => statSync(resolve(cwd, path), { throwIfNoEntry: false }));
  if (stat === undefined) throw new UserError(`${path}: no such file or folder`);
  if (!stat.isDirectory()) return [path];
  return walk(resolve(cwd, path)).files.map((file) => relative(cwd, file));
}

/** A file that somebody named, or one of a folder, where other tools have theirs. */
export function loadFile(file: string, cwd: string, maybe = true): LoadResult {
  const path = resolve(cwd, file);
  const { bytes, tooLarge: cut } = reading(file, () => withFile(path, (opened) => readOpened(opened)));
  return cut ? tooLarge(file, bytes.toString("latin1"), maybe) : load(bytes, file, maybe);
}

function reading<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new UserError(`${path} cannot be read: ${(error as Error).message}`);
  }
}

/** What the objects say of each other. Pods are not in files, and policies alone name services that stand elsewhere. */
export function together(objects: readonly Loaded[]): Issue[] {
  const complete = objects.some(({ key }) => key === "/Service");
  const unknowable = complete ? ["selects-nothing"] : ["selects-nothing", "unknown-host"];
  return [
    ...validate(buildWorld(objects)).filter(({ code }) => !unknowable.includes(code)),
    ...checkObjects(objects.map(toPlatformObject)),
  ];
}
