import { join, sep } from "node:path";
import type { Loaded } from "#policies/index.ts";

/** Where objects from `weft apply` are kept. */
export const appliedDir = (stateDir: string): string => join(stateDir, "applied");

/** An applied object hides those of the same name from files; what the platform's own file says stands. */
export function overlay(
  objects: readonly Loaded[],
  stateDir: string,
  platform: string | null,
): readonly Loaded[] {
  const prefix = appliedDir(stateDir) + sep;
  const isApplied = (o: Loaded) => o.source.file.startsWith(prefix);
  const id = (o: Loaded) => JSON.stringify([o.key, o.namespace, o.name]);
  const applied = new Set(objects.filter(isApplied).map(id));
  return objects.filter((o) => isApplied(o) || o.source.file === platform || !applied.has(id(o)));
}
