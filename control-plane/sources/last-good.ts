/** Copies of policy files as they were when they last made sense: a restart must not turn a typo, or half of a save, into a lost policy. */
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export class LastGood {
  readonly #folder: string;
  readonly #warn: (message: string) => void;
  readonly #kept = new Map<string, string>();
  /** Why it failed the last time. */
  #warned = "";

  constructor(folder: string, warn: (message: string) => void) {
    this.#folder = folder;
    this.#warn = warn;
    for (const name of namesIn(folder)) {
      const copy = join(folder, name);
      try {
        const { file, text } = JSON.parse(readFileSync(copy, "utf8")) as { file: string; text: string };
        if (copy === this.#copyOf(file)) this.#kept.set(file, text);
      } catch {
        rmSync(copy, { force: true }); // written halfway, or by another version
      }
    }
  }

  /** File -> text. */
  get kept(): ReadonlyMap<string, string> {
    return this.#kept;
  }

  /** False: it could not be, and is worth another try. */
  keep(file: string, text: string): boolean {
    if (this.#kept.get(file) === text) return true;
    const copy = this.#copyOf(file);
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      writeFileSync(`${copy}.new`, JSON.stringify({ file, text }), { mode: 0o600 });
      renameSync(`${copy}.new`, copy);
      this.#kept.set(file, text);
      this.#warned = "";
      return true;
    } catch (error) {
      // The mesh runs on; only a restart with a broken file would miss the copy.
      const { code, message } = error as NodeJS.ErrnoException;
      if (this.#warned !== code) this.#warn(`no copy of ${file} could be kept: ${message}`);
      this.#warned = code ?? "";
      return false;
    }
  }

  forget(file: string): void {
    if (this.#kept.delete(file)) rmSync(this.#copyOf(file), { force: true });
  }

  #copyOf(file: string): string {
    return join(this.#folder, createHash("sha256").update(file).digest("hex").slice(0, 32));
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
