import { countOrPercent, seconds } from "../pod/fields.ts";
import { labelSelector } from "../pod/metadata.ts";
import { podTemplate } from "../pod/spec.ts";
import { selectsItsPods } from "../pod/workload.ts";
import { int, object, oneOf, required } from "../schema.ts";

export const daemonSetSpec = selectsItsPods(
  object({
    selector: required(labelSelector),
    template: required(podTemplate),
    updateStrategy: object({
      type: oneOf("RollingUpdate", "OnDelete"),
      rollingUpdate: object({ maxSurge: countOrPercent, maxUnavailable: countOrPercent }),
    }),
    minReadySeconds: seconds(),
    revisionHistoryLimit: int(),
  }),
  ["Always"],
);
