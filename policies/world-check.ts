import type { Loaded } from "./load.ts";
import { type Issue, type Path, showPath } from "./schema.ts";
import type { World } from "./world.ts";

/** Reports a finding about one object at the field `path`. */
export type Say = (level: Issue["level"], code: string, o: Loaded, path: Path, message: string) => void;

/** What can only be told from the whole world; one file `<kind>/validate.ts` per kind, listed in `validate.ts`. */
export type WorldCheck = (world: World, say: Say) => void;

/** "namespace/name (file:line)", for messages that name a second object. */
export function place(o: Loaded): string {
  return `${o.namespace}/${o.name} (${o.source.file}:${o.source.line})`;
}

/** Runs the checks in their order. */
export function runChecks(world: World, checks: readonly WorldCheck[]): Issue[] {
  const issues: Issue[] = [];
  const say: Say = (level, code, o, path, message) => {
    const object =
      o.namespace === "" ? `${o.source.kind} ${o.name}` : `${o.source.kind} ${o.namespace}/${o.name}`;
    issues.push({
      level,
      code,
      message,
      file: o.source.file,
      line: o.line(path),
      object,
      path: showPath(path),
    });
  };
  for (const check of checks) check(world, say);
  return issues;
}
