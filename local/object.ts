/** A Kubernetes object as the policy files hold it. Only what the platform reads is typed; the rest stays unknown. */
export interface PlatformObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: unknown;
  /** Where it was written: paths in commands are resolved from the folder of this file. */
  readonly source?: { readonly file: string; readonly line: number };
  /** The line of a field in that file, where whoever read it knows. */
  readonly line?: (path: readonly (string | number)[]) => number;
}

export type Json = Readonly<Record<string, unknown>>;

/** An error for people: place, object and what to do are in the message; no stack is needed. */
export class PlatformError extends Error {
  override readonly name = "PlatformError";
}

/** "FILE:LINE: Kind namespace/name", as the beginning of an error. */
export function place(object: PlatformObject): string {
  const at = object.source === undefined ? "" : `${object.source.file}:${object.source.line}: `;
  return `${at}${object.kind} ${object.metadata.namespace ?? "default"}/${object.metadata.name}`;
}

/** {} for what is no map: types were checked when the files were loaded. `list`, `strings` and `stringMap` do the same. */
export function record(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

export function list(value: unknown): readonly Json[] {
  return Array.isArray(value) ? value.map(record) : [];
}

export function strings(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

export function stringMap(value: unknown): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(record(value)).map(([k, v]) => [k, String(v)]));
}
