import { createHash } from "node:crypto";

/** Content version of encoded bytes: equal bytes, equal version, in every process and after every restart. */
export function hashBytes(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("base64url").slice(0, 16);
}
