import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
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

  /** Throws the system's error when it cannot be written. The same again costs nothing. */
  write(key: string, value: object): void {
    const text = JSON.stringify(value, undefined, 1);
    if (this.#written.get(key) === text) return;
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
    writeAtomic(this.#file(key), text);
    this.#written.set(key, text);
  }

  forget(key: string): void {
    this.#written.delete(key);
    rmSync(this.#file(key), { force: true });
  }

  /** Keys of all that is remembered. */
  keys(): string[] {
    try {
      return readdirSync(this.#dir)
        .filter((name) => name.endsWith(".json"))
        .map((name) => name.slice(0, -5).replaceAll("_", "/"));
    } catch {
      return [];
    }
  }

  /** Names of Kubernetes objects hold no underscore. */
  #file(key: string): string {
    return join(this.#dir, `${key.replaceAll("/", "_")}.json`);
  }
}
