import { join, resolve } from "node:path";
import { type FileSource, watchFiles } from "#control-plane/sources/file.ts";
import type { PlatformObject } from "#local/index.ts";
import type { Issue, Loaded } from "#policies/index.ts";
import { UserError } from "../errors.ts";
import { sayIssue, yamlFiles } from "../yaml-files.ts";

/** What the mesh is to run, as the files and `weft apply` say it now. */
export interface PlatformObjects {
  read(): readonly PlatformObject[];
  /** One line per problem of the files. */
  errors(): readonly string[];
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
  const applied = join(stateDir, "applied");
  const source = watchFiles([...paths.map((path) => resolve(cwd, path)), applied], changed);
  const objects: PlatformObjects = {
    read: () => overlay(source, applied).map(toPlatformObject),
    errors: () => source.issues().filter(isError).map(sayIssue),
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

/** An applied object hides its namesake in the files. */
function overlay(source: FileSource, applied: string): Loaded[] {
  const all = source.objects();
  const isApplied = (object: Loaded): boolean => object.source.file.startsWith(`${applied}/`);
  const id = ({ key, namespace, name }: Loaded): string => `${key} ${namespace}/${name}`;
  const hidden = new Set(all.filter(isApplied).map(id));
  return all.filter((object) => isApplied(object) || !hidden.has(id(object)));
}

function toPlatformObject(object: Loaded): PlatformObject {
  return {
    ...(object.raw as unknown as PlatformObject),
    source: { file: object.source.file, line: object.source.line },
  };
}
