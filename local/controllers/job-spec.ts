import { Fields } from "../fields.ts";
import type { PlatformObject } from "../object.ts";

export interface JobSpec {
  /** Undefined: a work queue: done when one pod succeeded and all have ended. */
  readonly completions: number | undefined;
  readonly parallelism: number;
  readonly indexed: boolean;
  readonly backoffLimit: number;
  /** Undefined: failures count for the whole Job. */
  readonly backoffLimitPerIndex: number | undefined;
  readonly maxFailedIndexes: number | undefined;
  readonly activeDeadlineSeconds: number | undefined;
  readonly ttlSecondsAfterFinished: number | undefined;
  readonly suspend: boolean;
}

/** Defaults as Kubernetes'; `spec` is elsewhere in a CronJob. Throws PlatformError. */
export function jobSpec(object: PlatformObject, spec = new Fields(object)): JobSpec {
  const indexed = spec.oneOf("completionMode", ["NonIndexed", "Indexed"], "NonIndexed") === "Indexed";
  const completions = spec.whole("completions", spec.has("parallelism") ? undefined : 1);
  if (indexed && completions === undefined)
    throw spec.wrong("completions", 'is missing: completionMode "Indexed" needs it');
  const backoffLimitPerIndex = spec.whole("backoffLimitPerIndex", undefined);
  for (const name of ["backoffLimitPerIndex", "maxFailedIndexes"])
    if (spec.has(name) && !indexed) throw spec.wrong(name, 'is for completionMode "Indexed" alone');
  const unlimited = backoffLimitPerIndex === undefined ? 6 : Number.MAX_SAFE_INTEGER;
  return {
    completions,
    parallelism: spec.whole("parallelism", 1),
    indexed,
    backoffLimit: spec.whole("backoffLimit", unlimited),
    backoffLimitPerIndex,
    maxFailedIndexes: spec.whole("maxFailedIndexes", undefined),
    activeDeadlineSeconds: spec.whole("activeDeadlineSeconds", undefined, 1),
    ttlSecondsAfterFinished: spec.whole("ttlSecondsAfterFinished", undefined),
    suspend: spec.flag("suspend"),
  };
}
