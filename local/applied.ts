import { type FSWatcher, mkdirSync, readdirSync, readFileSync, watch } from "node:fs";
import { join } from "node:path";
import type { PlatformObject } from "./object.ts";

/** What gives pods names and addresses; programs to run come with the start of the mesh. */
const KINDS = ["Service", "ServiceEntry"];
/** `weft apply` writes several files in a row. */
const SETTLE_MS = 10;

/** The objects that `weft apply` left in the state directory: one JSON file each, which take their name when they are whole. */
export class Applied {
  readonly #dir: string;
  readonly #watcher: FSWatcher;
  #timer: NodeJS.Timeout | undefined;
  #objects: readonly PlatformObject[] = [];

  constructor(stateDir: string, changed: () => void) {
    this.#dir = join(stateDir, "applied");
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
    this.#watcher = watch(this.#dir, () => {
      this.#timer ??= setTimeout(() => {
        this.#timer = undefined;
        this.#read();
        changed();
      }, SETTLE_MS);
    });
    this.#watcher.on("error", () => {});
    this.#read();
  }

  /** `objects` and what was applied, which hides its namesakes. */
  over(objects: readonly PlatformObject[]): PlatformObject[] {
    const hidden = new Set(this.#objects.map(keyOf));
    return [...objects.filter((object) => !hidden.has(keyOf(object))), ...this.#objects];
  }

  #read(): void {
    const found: PlatformObject[] = [];
    for (const name of readdirSync(this.#dir).sort()) {
      if (!name.endsWith(".json")) continue;
      try {
        const object = JSON.parse(readFileSync(join(this.#dir, name), "utf8")) as PlatformObject;
        if (KINDS.includes(object.kind)) found.push(object);
      } catch {
        // Deleted in the meantime; the control plane reports what it cannot read.
      }
    }
    this.#objects = found;
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#watcher.close();
  }
}

function keyOf({ kind, metadata }: PlatformObject): string {
  return `${kind} ${metadata.namespace ?? "default"}/${metadata.name}`;
}
