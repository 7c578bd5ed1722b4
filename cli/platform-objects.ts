import type { PlatformObject } from "#local/index.ts";
import type { Loaded } from "#policies/index.ts";

/** A validated object as the local platform takes it, with the line of each of its fields. */
export function toPlatformObject(object: Loaded): PlatformObject {
  return {
    ...(object.raw as unknown as PlatformObject),
    source: { file: object.source.file, line: object.source.line },
    line: object.line,
  };
}
