/** Kinds of values that Kubernetes' own objects have and Istio's have not. */
import { check, int, NOT_CARRIED_OUT, type Path, type Report, type Schema, shaped, str } from "../schema.ts";

export { NOT_CARRIED_OUT };

/** Any value: for fields that speak to somebody else, such as `status`. */
export const anything: Schema<unknown> = (value) => value;

/** The value is read strictly, then told as not carried out, unless it asks for what happens anyway. */
export function idle<T>(
  schema: Schema<T>,
  why: string,
  harmless: (value: T) => boolean = () => false,
): Schema<T> {
  const read = shaped((v, path, report) => {
    const value = schema(v, path, report);
    if (value !== undefined && !harmless(value)) report(path, NOT_CARRIED_OUT, why);
    return value;
  }, schema.shape);
  return Object.assign(read, { idle: why });
}

/** `schema`, and then what its fields say of each other. `test` reports by itself. */
export function also<T>(schema: Schema<T>, test: (value: T, path: Path, report: Report) => void): Schema<T> {
  return shaped((v, path, report) => {
    const value = schema(v, path, report);
    if (value !== undefined) test(value, path, report);
    return value;
  }, schema.shape);
}

/** Exactly one of `names` is set; otherwise an error that lists them. */
export function oneIn(value: object, names: readonly string[], path: Path, report: Report): void {
  const set = names.filter((name) => (value as Record<string, unknown>)[name] !== undefined);
  if (set.length === 1) return;
  const found = set.length === 0 ? "none is set" : `${set.join(" and ")} are set`;
  report(path, "invalid-value", `needs exactly one of ${names.join(", ")}: ${found}`);
}

/** A port by its number or by its name (IANA service name, at most 15 characters). */
export const portOrName: Schema<number | string> = shaped(
  (v, path, report) => {
    if (typeof v === "number" && Number.isInteger(v) && v >= 1 && v <= 65535) return v;
    if (typeof v === "string" && isPortName(v)) return v;
    report(path, "wrong-type", `must be a port from 1 to 65535 or the name of one, not ${JSON.stringify(v)}`);
    return undefined;
  },
  { kind: "text", like: "port-or-name" },
);

/** IANA_SVC_NAME (RFC 6335 5.1), as Kubernetes asks for. */
export function isPortName(text: string): boolean {
  return (
    text.length <= 15 &&
    /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(text) &&
    /[a-z]/.test(text) &&
    !text.includes("--")
  );
}

/** RFC 1123 subdomain: the name of another object. It becomes part of paths and identities. */
export const objectName = check(str, (name) =>
  /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/.test(name)
    ? null
    : `must be a name of lower case letters, digits, "-" and ".", not ${JSON.stringify(name)}`,
);

const QUANTITY = /^[+-]?(\d+(\.\d*)?|\.\d+)(n|u|m|k|[KMGTPE]i?|[eE][+-]?\d+)?$/;
/** "500m", "64Mi", 2 (kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/). */
export const quantity: Schema<string> = shaped(
  (v, path, report) => {
    const text = typeof v === "number" ? String(v) : v;
    if (typeof text === "string" && QUANTITY.test(text)) return text;
    report(path, "wrong-type", `must be a quantity such as "500m" or "64Mi", not ${JSON.stringify(v)}`);
    return undefined;
  },
  { kind: "text", like: "quantity" },
);

/** A whole number or a percentage, "25%". */
export const countOrPercent: Schema<number | string> = shaped(
  (v, path, report) => {
    if (typeof v === "number" && Number.isInteger(v) && v >= 0) return v;
    if (typeof v === "string" && /^\d{1,3}%$/.test(v)) return v;
    report(
      path,
      "wrong-type",
      `must be a whole number from 0 up or a percentage such as "25%", not ${JSON.stringify(v)}`,
    );
    return undefined;
  },
  { kind: "text", like: "count-or-percent" },
);

/** RFC 1123 label. */
export const label = check(str, (text) =>
  /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(text)
    ? null
    : `must be lower case letters, digits and "-", at most 63 characters, not ${JSON.stringify(text)}`,
);

/** Seconds that must be whole in Kubernetes. */
export const seconds = (min = 0): Schema<number> => int(min, 2 ** 31 - 1);
/** File mode bits: YAML's 0644 is octal, JSON's 420 decimal; both are the same number here. */
export const mode = int(0, 0o777);
