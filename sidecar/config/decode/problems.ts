/** Errors and warnings of one resource, each with the path of its field; decoding goes on after an error to find all. */
import type { Duration } from "@bufbuild/protobuf/wkt";

export class Problems {
  readonly errors: string[];
  readonly warnings: string[];
  readonly path: string;

  constructor(path = "", errors: string[] = [], warnings: string[] = []) {
    this.path = path;
    this.errors = errors;
    this.warnings = warnings;
  }

  at(field: string | number): Problems {
    const path =
      typeof field === "number"
        ? `${this.path}[${field}]`
        : this.path === ""
          ? field
          : `${this.path}.${field}`;
    return new Problems(path, this.errors, this.warnings);
  }

  error(message: string): void {
    this.errors.push(this.path === "" ? message : `${this.path}: ${message}`);
  }

  warn(message: string): void {
    this.warnings.push(this.path === "" ? message : `${this.path}: ${message}`);
  }
}

/** `fallback` (ms) where the field is not set. */
export function milliseconds(duration: Duration | undefined, fallback: number): number {
  return duration === undefined ? fallback : Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}
