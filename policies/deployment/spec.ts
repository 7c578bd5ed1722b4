import { countOrPercent, seconds } from "../pod/fields.ts";
import { labelSelector } from "../pod/metadata.ts";
import { podTemplate } from "../pod/spec.ts";
import { selectsItsPods } from "../pod/workload.ts";
import { bool, int, object, oneOf, required } from "../schema.ts";

export const deploymentSpec = selectsItsPods(
  object({
    replicas: int(),
    selector: required(labelSelector),
    template: required(podTemplate),
    strategy: object({
      type: oneOf("RollingUpdate", "Recreate"),
      rollingUpdate: object({ maxSurge: countOrPercent, maxUnavailable: countOrPercent }),
    }),
    minReadySeconds: seconds(),
    revisionHistoryLimit: int(),
    progressDeadlineSeconds: seconds(),
    paused: bool,
  }),
  ["Always"],
);
