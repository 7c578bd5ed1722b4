/** Copies of policy files as they were when they last made sense: a restart must not turn a typo into a lost policy. */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type LoadResult, load } from "#policies/index.ts";

export class LastGood {
  readonly #folder: string;
  readonly #warn: (message: string) => void;

  constructor(folder: string, warn: (message: string) => void) {
    this.#folder = folder;
    this.#warn = warn;
  }

  keep(file: string, text: string): void {
    const copy = this.#copyOf(file);
    try {
      if (readFileSync(copy, "utf8") === text) return;
    } catch {}
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      writeFileSync(`${copy}.new`, text, { mode: 0o600 });
      renameSync(`${copy}.new`, copy);
    } catch (error) {
      // The mesh runs on; only a restart with a broken file would miss the copy.
      this.#warn(`no copy of ${file} could be kept: ${(error as Error).message}`);
    }
  }

  /** null if none was kept. Lines are those of the copy. */
  find(file: string): LoadResult | null {
    try {
      return load(readFileSync(this.#copyOf(file), "utf8"), file);
    } catch {
      return null;
    }
  }

  forget(file: string): void {
    rmSync(this.#copyOf(file), { force: true });
  }

  #copyOf(file: string): string {
    return join(this.#folder, createHash("sha256").update(file).digest("hex").slice(0, 32));
  }
}
