import { statSync } from "node:fs";
import { relative, resolve } from "node:path";
import { readOpened, withFile } from "#control-plane/sources/read-text.ts";
import { walk } from "#control-plane/sources/walk.ts";
import { type LoadResult, load, tooLarge } from "#policies/index.ts";
import { UserError } from "./errors.ts";

/** A file as it is named; a folder's YAML and JSON files, recursively, sorted. */
export function yamlFiles(path: string, cwd: string): string[] {
  const stat = reading(path, () => statSync(resolve(cwd, path), { throwIfNoEntry: false }));
  if (stat === undefined) throw new UserError(`${path}: no such file or folder`);
  if (!stat.isDirectory()) return [path];
  const { files, problems } = walk(resolve(cwd, path));
  if (problems.length > 0) throw new UserError(problems.map((p) => `${p.path}: ${p.message}`).join("\n"));
  return files.map((file) => relative(cwd, file));
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
