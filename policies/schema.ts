import { isIP } from "node:net";
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

/** Code of a warning, the only one that a decoder reports: it is read, and Weft does nothing for it. */
export const NOT_CARRIED_OUT = "not-carried-out";

export type Path = readonly (string | number)[];
export type Report = (path: Path, code: string, message: string) => void;
/** Decodes one value; reports and returns undefined when it cannot. */
export interface Schema<T> {
  (value: unknown, path: Path, report: Report): T | undefined;
  /** What it takes, for whoever makes values of it (test/fuzz) or describes it. Absent: what `like` says of a text. */
  readonly shape?: Shape;
  /** Why nothing is done for the value although it is read. */
  readonly idle?: string;
}
type Required<T> = { readonly required: Schema<T> };
type Fields = Record<string, Schema<unknown> | Required<unknown>>;
export type Shape =
  /** `like` names what the text stands for. */
  | { readonly kind: "text"; readonly like: string }
  | { readonly kind: "boolean" }
  | { readonly kind: "integer" | "number"; readonly min: number; readonly max: number }
  | { readonly kind: "duration"; readonly minMs: number }
  | { readonly kind: "one-of"; readonly names: readonly (string | number)[] }
  | { readonly kind: "list"; readonly item: Schema<unknown> }
  | { readonly kind: "map"; readonly item: Schema<unknown>; readonly keys: string }
  | {
      readonly kind: "object";
      readonly fields: Fields;
      readonly later: readonly string[];
      readonly open: boolean;
    };
/** Gives a decoder its description. */
export function shaped<T>(
  schema: (value: unknown, path: Path, report: Report) => T | undefined,
  shape: Shape | undefined,
): Schema<T> {
  return shape === undefined ? schema : Object.assign(schema, { shape });
}
type Decoded<F extends Fields> = {
  readonly [K in keyof F]: F[K] extends Required<infer T>
    ? T
    : F[K] extends Schema<infer T>
      ? T | undefined
      : never;
};
export type Infer<S> = S extends Schema<infer T> ? T : never;

/** ["spec", "http", 0] -> "spec.http[0]". */
export function showPath(path: Path): string {
  return path
    .map((part, i) => (typeof part === "number" ? `[${part}]` : i === 0 ? part : `.${part}`))
    .join("");
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return "null: it has no value";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (typeof value === "object") return "a map";
  // JSON knows no NaN and no infinity.
  if (typeof value === "number") return String(value);
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 100 ? `${text.slice(0, 100)}...` : text;
}

const wrong = (value: unknown, want: string, path: Path, report: Report): undefined => {
  report(path, "wrong-type", `must be ${want}, not ${describe(value)}`);
  return undefined;
};

/** `like`: what the text stands for, for whoever makes values of it. */
export function text(like: string): Schema<string> {
  return shaped(
    (v, path, report) => {
      if (typeof v !== "string") return wrong(v, "a string", path, report);
      // Neither has a place in protobuf or in a head (half a surrogate pair has no UTF-8).
      if (v.isWellFormed() && !v.includes("\0")) return v;
      report(path, "invalid-value", "must be text of Unicode without NUL");
      return undefined;
    },
    { kind: "text", like },
  );
}
export const str = text("any");
export const bool: Schema<boolean> = shaped(
  (v, path, report) => (typeof v === "boolean" ? v : wrong(v, "true or false", path, report)),
  { kind: "boolean" },
);
/** Istio's and Kubernetes' numbers are int32. */
export function int(min = 0, max = 2 ** 31 - 1): Schema<number> {
  return shaped(
    (v, path, report) =>
      typeof v === "number" && Number.isInteger(v) && v >= min && v <= max
        ? v
        : wrong(v, `a whole number from ${min} to ${max}`, path, report),
    { kind: "integer", min, max },
  );
}
export const port = int(1, 65535);
/** Parts of a hundred; what is above 0 is at least a millionth, as Envoy counts. */
export const percent: Schema<number> = shaped(
  (v, path, report) =>
    typeof v === "number" && (v === 0 || v >= 0.0001) && v <= 100
      ? v
      : wrong(v, "0, or a number from 0.0001 to 100", path, report),
  { kind: "number", min: 0, max: 100 },
);

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  us: 1e-3,
  "\u00b5s": 1e-3,
  "\u03bcs": 1e-3,
  ns: 1e-6,
};
/** Go's time.ParseDuration counts int64 nanoseconds. */
const LONGEST_MS = Math.floor(2 ** 63 / 1e6);

/** "1.5s", "2m", "100ms", "1h30m" -> whole milliseconds, the least that Istio takes; at least `minMs`. */
function durationFrom(minMs: number): Schema<number> {
  return shaped(
    (v, path, report) => {
      if (typeof v !== "string" || !/^(0|\+?((\d+\.?\d*|\.\d+)(ms|us|\u00b5s|\u03bcs|ns|h|m|s))+)$/.test(v))
        return wrong(v, 'a duration such as "5s" or "100ms"', path, report);
      let ms = 0;
      for (const [, n, unit] of v.matchAll(/([\d.]+)([^\d.]+)/g)) ms += Number(n) * UNIT_MS[unit!]!;
      const whole = Math.round(ms);
      if (Math.abs(ms - whole) > 1e-6 || whole > LONGEST_MS || whole < minMs) {
        const least = minMs === 0 ? "0s, or whole milliseconds" : "whole milliseconds from 1ms";
        report(path, "invalid-value", `must be ${least} up to 2562047h, not ${JSON.stringify(v)}`);
        return undefined;
      }
      return whole;
    },
    { kind: "duration", minMs },
  );
}
/** 0 switches off. */
export const duration = durationFrom(0);
/** Where Envoy takes no 0. */
export const positiveDuration = durationFrom(1);
/** The value that stands in `all` twice, or undefined. */
export function repeated<T>(all: readonly T[]): T | undefined {
  return all.find((x, i) => all.indexOf(x) !== i);
}

/** Case counts, as in Kubernetes. */
export function oneOf<const T extends string>(...names: T[]): Schema<T> {
  return shaped(
    (v, path, report) =>
      names.includes(v as T) ? (v as T) : wrong(v, `one of ${names.join(", ")}`, path, report),
    { kind: "one-of", names },
  );
}
export function list<T>(item: Schema<T>): Schema<readonly T[]> {
  return shaped(
    (v, path, report) =>
      Array.isArray(v)
        ? v.map((x, i) => item(x, [...path, i], report) as T)
        : wrong(v, "a list", path, report),
    { kind: "list", item },
  );
}
/** At least one element: an empty list would be a condition that nobody meant. */
export function nonEmptyList<T>(item: Schema<T>): Schema<readonly T[]> {
  return check(list(item), (all) =>
    all.length === 0 ? "must not be empty: name one, or take it out" : null,
  );
}
/** `keys`: what the names stand for. */
export function map<T>(item: Schema<T>, keys: Schema<string> = str): Schema<Readonly<Record<string, T>>> {
  return shaped(
    (v, path, report) => {
      if (!isMap(v)) return wrong(v, "a map", path, report);
      const out: [string, T][] = [];
      for (const [k, x] of Object.entries(v)) {
        keys(k, [...path, k], report);
        out.push([k, item(x, [...path, k], report) as T]);
      }
      // Not by assignment: `__proto__` is a name like any other.
      return Object.fromEntries(out);
    },
    { kind: "map", item, keys: keys.shape?.kind === "text" ? keys.shape.like : "any" },
  );
}
export const labels = map(str, text("label"));
/** A field of `object` that must be there. */
export function required<T>(schema: Schema<T>): Required<T> {
  return { required: schema };
}
/** `test` gives what is wrong with the value, as the end of a sentence about it; null = nothing. */
export function check<T>(schema: Schema<T>, test: (value: T) => string | null): Schema<T> {
  return refine(schema, (value, path, report) => {
    const fault = test(value);
    if (fault !== null) report(path, "invalid-value", fault);
  });
}
/** Like `check`, for faults of single fields below the value. Is not asked about a value that could not be read. */
export function refine<T>(
  schema: Schema<T>,
  judge: (value: T, path: Path, report: Report) => void,
): Schema<T> {
  return shaped((v, path, report) => {
    let whole = true;
    const value = schema(v, path, (at, code, message) => {
      if (code !== NOT_CARRIED_OUT) whole = false;
      report(at, code, message);
    });
    if (value !== undefined && whole) judge(value, path, report);
    return value;
  }, schema.shape);
}
/** 0 says nothing, as in protobuf, where it is what a number without a value has. */
export function unlessZero(schema: Schema<number>): Schema<number> {
  return shaped((v, path, report) => (v === 0 ? undefined : schema(v, path, report)), schema.shape);
}
/** "" says nothing, as in protobuf, where it is what a field without a value has. */
export function unlessEmpty<T>(schema: Schema<T>): Schema<T> {
  return shaped((v, path, report) => (v === "" ? undefined : schema(v, path, report)), schema.shape);
}
/** RFC 1123: the name of a namespace, a subset. */
export function isLabel(text: string): boolean {
  return /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(text);
}
/** A DNS name of RFC 1123 labels, an IP address, or a pattern ("*" or "*.suffix"). */
export function isHost(text: string): boolean {
  if (text === "*" || (isIP(text) === 6 && !text.includes("%"))) return true;
  const name = text.startsWith("*.") ? text.slice(2) : text;
  return name.length <= 253 && name.split(".").every((l) => /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/i.test(l));
}
export const NOT_A_HOST =
  'must be a DNS name: labels of letters, digits and "-", each at most 63 characters, or "*.suffix"';

/** A plain object: neither null nor a list. */
export function isMap(v: unknown): v is Record<string, unknown> {
  return typeof v === "object" && v !== null && !Array.isArray(v);
}

/** Which of the known names may be meant; else all of them. */
function meant(key: string, known: readonly string[]): string {
  const near = nearest(key, known);
  if (near !== null) return `: did you mean "${near}"?`;
  return ` (known: ${known.join(", ")})`;
}

/**
 * `later`: fields that the API has and Weft does not carry yet, refused by name. `open`: other fields are someone else's.
 * `valued`: null, elsewhere the same as nothing, is refused in these fields, and unknown ones are refused with it, too.
 */
export function object<const F extends Fields>(
  fields: F,
  options: { later?: readonly string[]; open?: boolean; valued?: readonly (keyof F)[] } = {},
): Schema<Decoded<F>> {
  return shaped(
    (v, path, report) => {
      if (!isMap(v)) return wrong(v, "a map", path, report);
      const out: Record<string, unknown> = {};
      for (const key of Object.keys(v)) {
        if (Object.hasOwn(fields, key) || (v[key] === null && options.valued === undefined)) continue;
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
          if (value === null && options.valued?.includes(key))
            report([...path, key], "no-value", `field "${key}" has no value: give it one, or take it out`);
          else if (typeof field !== "function")
            report([...path, key], "missing-field", `field "${key}" is missing`);
          out[key] = undefined;
        } else
          out[key] = (typeof field === "function" ? field : field.required)(value, [...path, key], report);
      }
      return out as Decoded<F>;
    },
    { kind: "object", fields, later: options.later ?? [], open: options.open ?? false },
  );
}

/** What istiod lets Envoy take (re2.max_program_size.error_level). */
const MOST_REGEX_STEPS = 32_768;
/** Istio's limit; to compile a megabyte takes seconds. */
const LONGEST_REGEX = 1024;

/** Envoy matches with RE2, which has no look-around and no back-references; one bad pattern refuses a whole table. */
export function regexFault(pattern: string): string | null {
  if (pattern === "") return "must not be empty: say `{}` for any value";
  if (pattern === "*") return 'is not a regular expression: "*" repeats nothing; say `{}` for any value';
  if (pattern.length > LONGEST_REGEX)
    return `is too large a regular expression: it has ${pattern.length} characters, ${LONGEST_REGEX} are allowed`;
  try {
    const steps = RE2JS.compile(pattern).programSize();
    if (steps <= MOST_REGEX_STEPS) return null;
    return `is too large a regular expression: it compiles to ${steps} steps, ${MOST_REGEX_STEPS} are allowed; use smaller repetitions`;
  } catch (error) {
    return `is not a regular expression of RE2: ${(error as Error).message}`;
  }
}
export const regex = check(text("regex"), regexFault);

const REDIRECTS: readonly number[] = [301, 302, 303, 307, 308];
/** What an Envoy redirect can answer. */
export const redirectStatus: Schema<number> = shaped(
  (v, path, report) =>
    REDIRECTS.includes(v as number)
      ? (v as number)
      : wrong(v, `one of ${REDIRECTS.join(", ")}`, path, report),
  { kind: "one-of", names: REDIRECTS },
);
