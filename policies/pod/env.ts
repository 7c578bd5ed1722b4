import { bool, check, list, object, required, type Schema, shaped, str } from "../schema.ts";
import { also, oneIn, quantity } from "./fields.ts";

const keyRef = object({ name: required(str), key: required(str), optional: bool });
/** Of a whole ConfigMap or Secret. */
const sourceRef = object({ name: required(str), optional: bool });

const FIELDS = [
  "metadata.name",
  "metadata.namespace",
  "metadata.uid",
  "spec.nodeName",
  "spec.serviceAccountName",
  "status.hostIP",
  "status.hostIPs",
  "status.podIP",
  "status.podIPs",
];
const ONE_OF_A_MAP = /^metadata\.(labels|annotations)\['[^']+'\]$/;

/** What the downward API gives (kubernetes.io/docs/concepts/workloads/pods/downward-api/). `whole`: all labels or annotations, files only. */
export function fieldRef(whole: boolean) {
  return object({
    apiVersion: str,
    fieldPath: required(
      check(str, (path) => {
        if (FIELDS.includes(path) || ONE_OF_A_MAP.test(path)) return null;
        if (whole && (path === "metadata.labels" || path === "metadata.annotations")) return null;
        return `${JSON.stringify(path)} is no field of the downward API (known: ${FIELDS.join(", ")}, metadata.labels['KEY'], metadata.annotations['KEY'])`;
      }),
    ),
  });
}

export const resourceFieldRef = object({
  containerName: str,
  resource: required(
    check(str, (name) =>
      /^(limits|requests)\.(cpu|memory|ephemeral-storage|hugepages-.+)$/.test(name)
        ? null
        : 'must be limits or requests with a resource, such as "limits.memory"',
    ),
  ),
  divisor: quantity,
});

const valueFrom = also(
  object(
    {
      fieldRef: fieldRef(false),
      configMapKeyRef: keyRef,
      secretKeyRef: keyRef,
      resourceFieldRef,
    },
    { later: ["fileKeyRef"] },
  ),
  (value, path, report) => oneIn(value, Object.keys(value), path, report),
);

/** A bare 8080 or true is a mistake in Kubernetes too; said with what to do. */
const envValue: Schema<string> = shaped(
  (v, path, report) => {
    if (typeof v === "number" || typeof v === "boolean") {
      report(path, "wrong-type", `must be a string, not ${v}: write it in quotes, "${v}"`);
      return undefined;
    }
    return str(v, path, report);
  },
  { kind: "text", like: "any" },
);

const envName = check(str, (name) =>
  name !== "" && /^[\x20-\x3c\x3e-\x7e]+$/.test(name) ? null : 'must be printable characters without "="',
);

export const envVar = also(
  object({ name: required(envName), value: envValue, valueFrom }),
  (value, path, report) => {
    if (value.value !== undefined && value.value !== "" && value.valueFrom !== undefined)
      report([...path, "valueFrom"], "invalid-value", "value and valueFrom exclude each other");
  },
);

export const envFrom = list(
  also(object({ prefix: str, configMapRef: sourceRef, secretRef: sourceRef }), (value, path, report) =>
    oneIn(value, ["configMapRef", "secretRef"], path, report),
  ),
);
