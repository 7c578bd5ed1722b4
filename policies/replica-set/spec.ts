import { seconds } from "../pod/fields.ts";
import { labelSelector } from "../pod/metadata.ts";
import { podTemplate } from "../pod/spec.ts";
import { selectsItsPods } from "../pod/workload.ts";
import { int, object, required } from "../schema.ts";

export const replicaSetSpec = selectsItsPods(
  object({
    replicas: int(),
    selector: required(labelSelector),
    template: required(podTemplate),
    minReadySeconds: seconds(),
  }),
  ["Always"],
);
