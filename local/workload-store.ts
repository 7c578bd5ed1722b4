import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { PlatformError } from "./object.ts";
import { writeAtomic } from "./tokens.ts";

/** What is remembered of each workload over restarts of the mesh: one JSON file each in `<state directory>/workloads`. */
export class WorkloadStore {
  readonly #dir: string;
  readonly #written = new Map<string, string>();

  constructor(stateDir: string) {
    this.#dir = join(stateDir, "workloads");
  }

  /** Undefined: nothing is known; a damaged file counts as nothing. */
  read(key: string): unknown {
    try {
      return JSON.parse(readFileSync(this.#file(key), "utf8"));
    } catch {
      return undefined;
    }
  }

  /** Throws PlatformError when it cannot be written (a full disk). The same again costs nothing. */
  write(key: string, value: object): void {
    const text = JSON.stringify(value, undefined, 1);
    if (this.#written.get(key) === text) return;
    try {
      mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
      writeAtomic(this.#file(key), text);
    } catch (error) {
      throw new PlatformError(
        `${this.#file(key)} cannot be written (${(error as NodeJS.ErrnoException).code}): nothing is changed until it can`,
      );
    }
    this.#written.set(key, text);
  }

  forget(key: string): void {
    this.#written.delete(key);
    rmSync(this.#file(key), { force: true });
  }

  /** Names of Kubernetes objects hold no underscore. */
  #file(key: string): string {
    return join(this.#dir, `${key.replaceAll("/", "_")}.json`);
  }
}
