import type { Any } from "@bufbuild/protobuf/wkt";
import { type Clock, systemClock } from "#lib/clock.ts";
import type { PackedResource } from "#xds/index.ts";

/** A resource as it arrived; the last good one where a newer was refused. */
export interface Archived {
  readonly name: string;
  readonly version: string;
  readonly any: Any | null;
  readonly updatedMs: number;
  /** The newest that was refused since, and why. */
  readonly refused: { readonly any: Any; readonly reason: string; readonly atMs: number } | null;
}

/** Raw resources for /config_dump, by type and name. */
export class ConfigArchive {
  readonly #byType = new Map<string, Map<string, Archived>>();
  readonly #clock: Clock;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  of(typeUrl: string): readonly Archived[] {
    return [...(this.#byType.get(typeUrl)?.values() ?? [])];
  }

  update(
    typeUrl: string,
    upserts: readonly PackedResource[],
    removed: readonly string[],
    refused: ReadonlyMap<string, string>,
  ): void {
    let byName = this.#byType.get(typeUrl);
    if (byName === undefined) {
      byName = new Map();
      this.#byType.set(typeUrl, byName);
    }
    const now = this.#clock.now();
    for (const { name, version, any } of upserts) {
      const reason = refused.get(name);
      // The bytes are a view of a whole response, which must not stay for the sake of one resource.
      const own = { ...any, value: any.value.slice() };
      const before = byName.get(name);
      byName.set(
        name,
        reason === undefined
          ? { name, version, any: own, updatedMs: now, refused: null }
          : {
              ...(before ?? { name, version: "", any: null, updatedMs: now }),
              refused: { any: own, reason, atMs: now },
            },
      );
    }
    for (const name of removed) byName.delete(name);
  }
}
