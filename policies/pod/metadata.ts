import { check, labels, list, object, str } from "../schema.ts";
import { anything } from "./fields.ts";

// Age decides which of two policies counts: a text that is no time would pass for the oldest.
const time = check(str, (text) =>
  Number.isNaN(Date.parse(text)) ? 'must be a time such as "2026-01-31T12:00:00Z" (RFC 3339)' : null,
);
/** ObjectMeta, whole: a misspelt `lables` must not vanish. What the API server fills in is taken and not read. */
export const OBJECT_META = {
  name: str,
  generateName: str,
  namespace: str,
  labels,
  annotations: labels,
  creationTimestamp: time,
  deletionTimestamp: str,
  deletionGracePeriodSeconds: anything,
  finalizers: list(str),
  generation: anything,
  managedFields: anything,
  ownerReferences: anything,
  resourceVersion: anything,
  selfLink: anything,
  uid: anything,
} as const;

export const objectMeta = object(OBJECT_META);

/** Fields of an object that has no `spec`, beside its own. */
export const TOP_LEVEL = {
  apiVersion: str,
  kind: str,
  metadata: anything,
  status: anything,
} as const;

/** metav1.LabelSelector. */
export const labelSelector = object({
  matchLabels: labels,
  matchExpressions: list(object({ key: str, operator: str, values: list(str) })),
});
