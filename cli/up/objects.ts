import { resolve, sep } from "node:path";
import { appliedDir, overlay } from "#control-plane/sources/applied.ts";
import { watchFiles } from "#control-plane/sources/file.ts";
import type { PlatformObject } from "#local/index.ts";
import { type Issue, sayIssue } from "#policies/index.ts";
import { UserError } from "../errors.ts";
import { toPlatformObject } from "../platform-objects.ts";
import { together, yamlFiles } from "../yaml-files.ts";

/** What the mesh is to run, as the files and `weft apply` say it now. */
export interface PlatformObjects {
  read(): readonly PlatformObject[];
  /** One line per problem of the files. */
  errors(): readonly string[];
  /** The errors, and what the objects say of each other: a host that nobody has, the same object twice. */
  problems(): readonly string[];
  /** "Kind namespace/name" of what `weft apply` brought; it hides what the files say. */
  applied(): readonly string[];
  close(): void;
}

/** Reads the files with the strict reader that the control plane uses, and watches them. Their first errors end it. */
export function watchObjects(
  paths: readonly string[],
  cwd: string,
  stateDir: string,
  changed: () => void,
): PlatformObjects {
  for (const path of paths)
    if (yamlFiles(path, cwd).length === 0) throw new UserError(`${path}: no YAML or JSON file in it`);
  const applied = appliedDir(stateDir);
  const source = watchFiles([...paths.map((path) => resolve(cwd, path)), applied], changed, {
    renamed: applied,
  });
  const objects: PlatformObjects = {
    read: () => overlay(source.objects(), stateDir, null).map(toPlatformObject),
    errors: () => source.issues().filter(isError).map(sayIssue),
    problems: () => [
      ...objects.errors(),
      ...together(overlay(source.objects(), stateDir, null)).map(
        (issue) => `${issue.level === "warning" ? "warning: " : ""}${sayIssue(issue)}`,
      ),
    ],
    applied: () =>
      source
        .objects()
        .filter(({ source: { file } }) => file.startsWith(applied + sep))
        .map(({ source: { kind }, namespace, name }) => [kind, namespace && `${namespace}/`, name])
        .map(([kind, prefix, name]) => `${kind} ${prefix}${name}`),
    close: () => source.close(),
  };
  const errors = objects.errors();
  if (errors.length > 0) {
    objects.close();
    throw new UserError(errors.join("\n"));
  }
  return objects;
}

const isError = (issue: Issue): boolean => issue.level === "error";
