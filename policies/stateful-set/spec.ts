import { persistentVolumeClaimSpec } from "../persistent-volume-claim/spec.ts";
import { also, anything, countOrPercent, objectName, seconds } from "../pod/fields.ts";
import { labelSelector, objectMeta } from "../pod/metadata.ts";
import { checkNames } from "../pod/names.ts";
import { openPodTemplate } from "../pod/spec.ts";
import { selectsItsPods } from "../pod/workload.ts";
import { int, list, object, oneOf, required, str } from "../schema.ts";

const retention = oneOf("Retain", "Delete");

export const statefulSetSpec = also(
  selectsItsPods(
    object({
      replicas: int(),
      selector: required(labelSelector),
      template: required(openPodTemplate),
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
  ),
  ({ template, volumeClaimTemplates }, path, report) => {
    const claims = (volumeClaimTemplates ?? []).map((claim) => ({ name: claim?.metadata?.name }));
    for (const [i, { name }] of claims.entries())
      objectName(name, [...path, "volumeClaimTemplates", i, "metadata", "name"], report);
    const spec = template?.spec;
    if (spec === undefined) return;
    // A claim hides a volume of its name.
    const others = (spec.volumes ?? []).filter((v) => !claims.some(({ name }) => name === v?.name));
    checkNames({ ...spec, volumes: [...others, ...claims] }, [...path, "template", "spec"], report);
  },
);
