import { isBase64, keyed } from "../config-map/spec.ts";
import { TOP_LEVEL } from "../pod/metadata.ts";
import { bool, object, type Schema, shaped, str } from "../schema.ts";
import { HIDDEN } from "./hidden.ts";

/** No message of these may show the value. */
const plain: Schema<string> = shaped(
  (v, path, report) => {
    if (typeof v === "string") return v;
    report(path, "wrong-type", "must be a string: write it in quotes");
    return undefined;
  },
  { kind: "text", like: "any" },
);
const encoded: Schema<string> = shaped(
  (v, path, report) => {
    if (typeof v === "string" && isBase64(v)) return v;
    report(
      path,
      "invalid-value",
      v === HIDDEN
        ? "is not shown by `weft get`, so it cannot be applied: write the value"
        : "must be base64; plain text belongs under stringData",
    );
    return undefined;
  },
  { kind: "text", like: "base64" },
);

/** A Secret has no `spec`. */
export const secretSpec = object({
  ...TOP_LEVEL,
  data: keyed(encoded),
  stringData: keyed(plain),
  immutable: bool,
  type: str,
});
