import { RE2JS } from "re2js";
import { nearest } from "#lib/nearest.ts";

/** Small strict decoders: every unknown field, wrong type or field we do not carry yet is reported with its path. */

export interface Issue {
  readonly level: "error" | "warning";
  /** Stable name, e.g. `unknown-field`, `unsupported-field`, `wrong-type`, `yaml`, `unknown-kind`. */
  readonly code: string;
  readonly message: string;
  readonly file: string;
  readonly line: number;
  /** "Kind namespace/name", "" before an object is known. */
  readonly object: string;
  /** "spec.http[0].route", "" for the whole object. */
  readonly path: string;
}

/** One line: where, which object and field, what is wrong. */
export function sayIssue({ file, line, object, path, message }: Issue): string {
  return `${file}:${line}: ${[object, path, message].filter((part) => part !== "").join(": ")}`;
}

export type Path = readonly (string | number)[];
export type Report = (path: Path, code: string, message: string) => void;
/** Decodes one value; reports and returns undefined when it cannot. */
export type Schema<T> = (value: unknown, path: Path, report: Report) => T | undefined;
type Required<T> = { readonly required: Schema<T> };
type Fields = Record<string, Schema<unknown> | Required<unknown>>;
type Decoded<F extends Fields> = {
  readonly [K in keyof F]: F[K] extends Required<infer T>
    ? T
    : F[K] extends Schema<infer T>
      ? T | undefined
      : never;
};
export type Infer<S> = S extends Schema<infer T> ? T : never;

export function showPath(path: Path): string {
  return path
    .map((part, i) => (typeof part === "number" ? `[${part}]` : i === 0 ? part : `.${part}`))
    .join("");
}

function describe(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a map";
  return JSON.stringify(value);
}

const wrong = (value: unknown, want: string, path: Path, report: Report): undefined => {
  report(path, "wrong-type", `must be ${want}, not ${describe(value)}`);
  return undefined;
};

export const str: Schema<string> = (v, path, report) => {
  if (typeof v === "string") return v;
  // YAML 1.1 reads a bare timestamp as a date; Kubernetes means the text.
  return v instanceof Date ? v.toISOString() : wrong(v, "a string", path, report);
};
export const bool: Schema<boolean> = (v, path, report) =>
  typeof v === "boolean" ? v : wrong(v, "true or false", path, report);
export function int(min = 0, max = 2 ** 32 - 1): Schema<number> {
  return (v, path, report) =>
    typeof v === "number" && Number.isInteger(v) && v >= min && v <= max
      ? v
      : wrong(v, `a whole number from ${min} to ${max}`, path, report);
}
export const port = int(1, 65535);
export const percent: Schema<number> = (v, path, report) =>
  typeof v === "number" && v >= 0 && v <= 100 ? v : wrong(v, "a number from 0 to 100", path, report);

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  us: 0.001,
  ns: 1e-6,
};
/** "1.5s", "2m", "100ms", "1h30m" -> milliseconds. */
export const duration: Schema<number> = (v, path, report) => {
  if (typeof v !== "string" || !/^(\d+(\.\d+)?(ms|us|ns|h|m|s))+$/.test(v))
    return wrong(v, 'a duration such as "5s" or "100ms"', path, report);
  let ms = 0;
  for (const [, n, unit] of v.matchAll(/(\d+(?:\.\d+)?)(ms|us|ns|h|m|s)/g)) ms += Number(n) * UNIT_MS[unit!]!;
  return ms;
};
export function oneOf<const T extends string>(...names: T[]): Schema<T> {
  return (v, path, report) =>
    names.includes(v as T) ? (v as T) : wrong(v, `one of ${names.join(", ")}`, path, report);
}
export function list<T>(item: Schema<T>): Schema<readonly T[]> {
  return (v, path, report) =>
    Array.isArray(v) ? v.map((x, i) => item(x, [...path, i], report) as T) : wrong(v, "a list", path, report);
}
export function map<T>(item: Schema<T>): Schema<Readonly<Record<string, T>>> {
  return (v, path, report) =>
    isMap(v)
      ? Object.fromEntries(Object.entries(v).map(([k, x]) => [k, item(x, [...path, k], report) as T]))
      : wrong(v, "a map", path, report);
}
export const labels = map(str);
export function required<T>(schema: Schema<T>): Required<T> {
  return { required: schema };
}
export function check<T>(schema: Schema<T>, test: (value: T) => string | null): Schema<T> {
  return (v, path, report) => {
    const value = schema(v, path, report);
    const fault = value === undefined ? null : test(value);
    if (fault !== null) report(path, "invalid-value", fault);
    return value;
  };
}
/** A DNS name of RFC 1123 labels, an IP address, or a pattern ("*" or "*.suffix"). */
export function isHost(text: string): boolean {
  if (text === "*" || /^[0-9a-f:.]*:[0-9a-f:.]*$/i.test(text)) return true;
  const name = text.startsWith("*.") ? text.slice(2) : text;
  return name.length <= 253 && name.split(".").every((l) => /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/i.test(l));
}
export const NOT_A_HOST =
  'must be a DNS name: labels of letters, digits and "-", each at most 63 characters, or "*.suffix"';

export function isMap(v: unknown): v is Record<string, unknown> {
  return typeof v === "object" && v !== null && !Array.isArray(v) && !(v instanceof Date);
}

/** Which of the known names may be meant; else all of them. */
function meant(key: string, known: readonly string[]): string {
  const near = nearest(key, known);
  if (near !== null) return `: did you mean "${near}"?`;
  return ` (known: ${known.join(", ")})`;
}

/** `later`: fields that the API has and Weft does not carry yet, refused by name. `open`: other fields are someone else's. */
export function object<const F extends Fields>(
  fields: F,
  options: { later?: readonly string[]; open?: boolean } = {},
): Schema<Decoded<F>> {
  return (v, path, report) => {
    if (!isMap(v)) return wrong(v, "a map", path, report);
    const out: Record<string, unknown> = {};
    for (const key of Object.keys(v)) {
      if (Object.hasOwn(fields, key) || v[key] === null) continue;
      if (options.later?.includes(key))
        report([...path, key], "unsupported-field", `field "${key}" is not supported yet`);
      else if (!options.open)
        report(
          [...path, key],
          "unknown-field",
          `unknown field "${key}"${meant(key, [...Object.keys(fields), ...(options.later ?? [])])}`,
        );
    }
    for (const [key, field] of Object.entries(fields)) {
      const value = Object.hasOwn(v, key) ? v[key] : undefined;
      if (value === undefined || value === null) {
        if (typeof field !== "function") report([...path, key], "missing-field", `field "${key}" is missing`);
        out[key] = undefined;
      } else out[key] = (typeof field === "function" ? field : field.required)(value, [...path, key], report);
    }
    return out as Decoded<F>;
  };
}

/** What istiod lets Envoy take (re2.max_program_size.error_level). */
const MOST_REGEX_STEPS = 32_768;

/** Envoy matches with RE2, which has no look-around and no back-references; one bad pattern refuses a whole table. */
export const regex = check(str, (text) => {
  try {
    const steps = RE2JS.compile(text).programSize();
    if (steps <= MOST_REGEX_STEPS) return null;
    return `is too large a regular expression: it compiles to ${steps} steps, ${MOST_REGEX_STEPS} are allowed; use smaller repetitions`;
  } catch (error) {
    return `is not a regular expression of RE2: ${(error as Error).message}`;
  }
});

/** What an Envoy redirect can answer. */
export const redirectStatus: Schema<number> = check(int(), (v) =>
  [301, 302, 303, 307, 308].includes(v) ? null : `must be one of 301, 302, 303, 307, 308, not ${v}`,
);
