import { createHash } from "node:crypto";

/** Content version of encoded bytes: equal bytes, equal version, in every process and after every restart. */
export function hashBytes(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("base64url").slice(0, 16);
}

/** Version of a set of named versions, whatever the order of the set. */
export function hashVersions(versions: Iterable<readonly [name: string, version: string]>): string {
  const hash = createHash("sha256");
  for (const [name, version] of [...versions].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))) {
    hash.update(`${name}\0${version}\0`);
  }
  return hash.digest("base64url").slice(0, 16);
}
