import { persistentVolumeClaimSpec } from "../persistent-volume-claim/spec.ts";
import { anything, countOrPercent, seconds } from "../pod/fields.ts";
import { labelSelector, objectMeta } from "../pod/metadata.ts";
import { podTemplate } from "../pod/spec.ts";
import { selectsItsPods } from "../pod/workload.ts";
import { int, list, object, oneOf, required, str } from "../schema.ts";

const retention = oneOf("Retain", "Delete");

export const statefulSetSpec = selectsItsPods(
  object({
    replicas: int(),
    selector: required(labelSelector),
    template: required(podTemplate),
    serviceName: str,
    podManagementPolicy: oneOf("OrderedReady", "Parallel"),
    updateStrategy: object({
      type: oneOf("RollingUpdate", "OnDelete"),
      rollingUpdate: object({ partition: int(), maxUnavailable: countOrPercent }),
    }),
    revisionHistoryLimit: int(),
    minReadySeconds: seconds(),
    volumeClaimTemplates: list(
      object({
        apiVersion: str,
        kind: str,
        metadata: required(objectMeta),
        spec: required(persistentVolumeClaimSpec),
        status: anything,
      }),
    ),
    persistentVolumeClaimRetentionPolicy: object({ whenDeleted: retention, whenScaled: retention }),
    ordinals: object({ start: int() }),
  }),
  ["Always"],
);
