import type { Logger } from "#lib/log.ts";
import { type Issue, validate, type World } from "#policies/index.ts";

/** Every error and warning about policies in the log once: again only after it was gone. */
export class IssueLog {
  readonly #log: Logger;
  #said: ReadonlySet<string> = new Set();

  constructor(log: Logger) {
    this.#log = log;
  }

  write(issues: readonly Issue[], world: World): void {
    const now = new Set<string>();
    for (const issue of [...issues, ...validate(world)]) {
      const { level, message, file, line, object, path } = issue;
      const key = JSON.stringify([file, object, path, message]);
      if (!now.has(key) && !this.#said.has(key)) {
        const place = { at: `${file}:${line}`, ...(object && { object }), ...(path && { field: path }) };
        if (level === "error") this.#log.error(message, place);
        else this.#log.warn(message, place);
      }
      now.add(key);
    }
    const gone = [...this.#said].filter((key) => !now.has(key)).length;
    if (gone > 0) this.#log.info("issues with policies are resolved", { resolved: gone, left: now.size });
    this.#said = now;
  }
}
