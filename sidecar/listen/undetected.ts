import type { Logger } from "#lib/log.ts";

/** So many ports are told of; a log is no list of everything that somebody dials. */
const MOST_PORTS = 1000;

/** Says once per port that its clients wait for a protocol that nobody declared. */
export class UndetectedPorts {
  readonly #log: Logger;
  readonly #told = new Set<string>();

  constructor(log: Logger) {
    this.#log = log;
  }

  tell(listener: string, port: number, waitedMs: number): void {
    const key = `${listener} ${port}`;
    if (this.#told.has(key) || this.#told.size >= MOST_PORTS) return;
    this.#told.add(key);
    this.#log.warn(
      `port ${port}: its client said nothing for ${waitedMs / 1000} s, and the port does not say what it speaks: taken for TCP. If the server speaks first, begin the name of the Service's port with tcp-, and nobody waits`,
      { listener, port },
    );
  }
}
