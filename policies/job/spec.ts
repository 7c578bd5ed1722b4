import { also, anything, idle, seconds } from "../pod/fields.ts";
import { labelSelector } from "../pod/metadata.ts";
import { podTemplate } from "../pod/spec.ts";
import { restartPolicyOf } from "../pod/workload.ts";
import { bool, int, object, oneOf, required, str } from "../schema.ts";

export const jobSpec = also(
  object({
    template: required(podTemplate),
    parallelism: int(),
    completions: int(),
    completionMode: oneOf("NonIndexed", "Indexed"),
    backoffLimit: int(),
    backoffLimitPerIndex: int(),
    maxFailedIndexes: int(),
    activeDeadlineSeconds: seconds(),
    ttlSecondsAfterFinished: seconds(),
    suspend: bool,
    podFailurePolicy: idle(anything, "every failed pod of a local Job counts against backoffLimit"),
    successPolicy: idle(anything, "a local Job is complete when all its completions are"),
    podReplacementPolicy: idle(
      oneOf("TerminatingOrFailed", "Failed"),
      "a local Job replaces pods when they have failed",
      (v) => v === "Failed",
    ),
    managedBy: idle(str, "the local platform runs every Job"),
    /** The API server's own, in what `kubectl get -o yaml` prints. */
    selector: labelSelector,
    manualSelector: bool,
  }),
  (spec, path, report) => restartPolicyOf(spec, ["OnFailure", "Never"], path, report),
);
