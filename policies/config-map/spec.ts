import { TOP_LEVEL } from "../pod/metadata.ts";
import { bool, check, map, object, type Schema, shaped, str } from "../schema.ts";

/** Stays as it is written; `local/` decodes. */
const base64 = check(str, (text) => (isBase64(text) ? null : "must be base64"));

/** RFC 4648 4 with padding; blanks and line ends may stand anywhere in it, as kubectl takes it. */
export function isBase64(text: string): boolean {
  return /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text.replace(/\s/g, ""));
}

/** A key is a file name in a volume. */
export function keyed<T>(item: Schema<T>): Schema<Readonly<Record<string, T>>> {
  const values = map(item);
  return shaped((v, path, report) => {
    const value = values(v, path, report);
    for (const key of Object.keys(value ?? {}))
      if (!/^[-._a-zA-Z0-9]{1,253}$/.test(key) || key === "." || key.startsWith(".."))
        report([...path, key], "invalid-value", 'a key must be letters, digits, "-", "_" and "."');
    return value;
  }, values.shape);
}

/** A ConfigMap has no `spec`. */
export const configMapSpec = object({
  ...TOP_LEVEL,
  data: keyed(str),
  binaryData: keyed(base64),
  immutable: bool,
});
