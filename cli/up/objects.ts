import { resolve } from "node:path";
import { appliedDir, overlay } from "#control-plane/sources/applied.ts";
import { watchFiles } from "#control-plane/sources/file.ts";
import type { PlatformObject } from "#local/index.ts";
import { sayIssue } from "#policies/index.ts";
import { readApplied } from "../applied.ts";
import { isError, lineOf, together } from "../check.ts";
import { UserError } from "../errors.ts";
import { toPlatformObject } from "../platform-objects.ts";
import { yamlFiles } from "../yaml-files.ts";

/** What the mesh is to run, as the files and `weft apply` say it now. */
export interface PlatformObjects {
  read(): readonly PlatformObject[];
  /** One line per problem of the files. */
  errors(): readonly string[];
  /** All that is wrong or odd, one line each: errors of files, what is left alone, what objects say of each other. */
  problems(): readonly string[];
  /** "Kind namespace/name" of what `weft apply` brought; it hides what the files say. */
  applied(): readonly string[];
  close(): void;
}

/** Reads the files with the strict reader that the control plane uses, and watches them. Errors at the start end it, all at once. */
export function watchObjects(
  paths: readonly string[],
  cwd: string,
  stateDir: string,
  changed: () => void,
): PlatformObjects {
  for (const path of paths)
    if (yamlFiles(path, cwd).length === 0) throw new UserError(`${path}: no YAML or JSON file in it`);
  const applied = appliedDir(stateDir);
  const named = paths.map((path) => resolve(cwd, path));
  const source = watchFiles([...named, applied], changed, { renamed: applied, named });
  const standing = () => overlay(source.objects(), null);
  const issues = () => [...source.issues(), ...together(standing())];
  const objects: PlatformObjects = {
    read: () => standing().map(toPlatformObject),
    errors: () => source.issues().filter(isError).map(sayIssue),
    problems: () => issues().map(lineOf),
    applied: () => readApplied(source.objects()).map(({ label }) => label),
    close: () => source.close(),
  };
  const errors = issues().filter(isError).map(sayIssue);
  if (errors.length > 0) {
    objects.close();
    throw new UserError(errors.join("\n"));
  }
  return objects;
}
