import { type Json, PlatformError, type PlatformObject, place, record } from "./object.ts";

/** An error at one field: whoever knows the lines of the file can say the field's own. */
export class FieldError extends PlatformError {
  /** ["spec", "metrics", 0, "type"] */
  readonly path: readonly (string | number)[];
  /** Without place and path. */
  readonly reason: string;

  constructor(object: PlatformObject, path: string, reason: string) {
    super(`${place(object)}: ${path}: ${reason}`);
    this.path = (path.match(/[^.[\]]+/g) ?? []).map((part) => (/^\d+$/.test(part) ? Number(part) : part));
    this.reason = reason;
  }
}

/** Reads fields of one object; what is wrong is a PlatformError that names file, line and path. */
export class Fields {
  readonly #object: PlatformObject;
  readonly #path: string;
  readonly json: Json;

  constructor(object: PlatformObject, path = "spec", value: unknown = object.spec) {
    this.#object = object;
    this.#path = path;
    this.json = record(value);
  }

  at(name: string): Fields {
    return new Fields(this.#object, `${this.#path}.${name}`, this.json[name]);
  }
  has(name: string): boolean {
    return this.json[name] !== undefined && this.json[name] !== null;
  }
  wrong(name: string, why: string): FieldError {
    const value = this.json[name];
    const said = value === undefined ? why : `${JSON.stringify(value)} ${why}`;
    return new FieldError(this.#object, `${this.#path}.${name}`, said);
  }

  whole<F extends number | undefined>(name: string, fallback: F, least = 0): number | F {
    const value = this.json[name] ?? undefined;
    if (value === undefined) return fallback;
    if (typeof value !== "number" || !Number.isInteger(value) || value < least)
      throw this.wrong(name, `is not a whole number from ${least} up`);
    return value;
  }

  flag(name: string): boolean {
    const value = this.json[name] ?? false;
    if (typeof value !== "boolean") throw this.wrong(name, "is not true or false");
    return value;
  }

  text<F extends string | undefined>(name: string, fallback: F): string | F {
    const value = this.json[name] ?? undefined;
    if (value === undefined) return fallback;
    if (typeof value !== "string") throw this.wrong(name, "is not a string");
    return value;
  }

  oneOf<T extends string>(name: string, known: readonly T[], fallback: T): T {
    const value = this.text(name, fallback);
    const found = known.find((one) => one === value);
    if (found === undefined) throw this.wrong(name, `is none of ${known.join(", ")}`);
    return found;
  }

  /** A whole number, or a percentage such as "25%". */
  intOrPercent(name: string, fallback: number | string): number | string {
    const value = this.json[name] ?? fallback;
    if (typeof value === "number" && Number.isInteger(value) && value >= 0) return value;
    if (typeof value === "string" && /^\d+%$/.test(value)) return value;
    throw this.wrong(name, 'is neither a whole number from 0 up nor a percentage such as "25%"');
  }
}
