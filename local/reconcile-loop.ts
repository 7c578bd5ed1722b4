import type { Clock } from "#lib/clock.ts";

/**
 * Runs one function again whenever something changed: one at a time, and of many changes in a row once. What it needs of
 * the past it must see in the state of things, never in the order of calls.
 */
export class ReconcileLoop {
  readonly #clock: Clock;
  /** Must not reject. */
  readonly #run: () => Promise<void>;
  #wanted = false;
  #running: Promise<void> | undefined;
  #stopped = false;
  #wakeAt = Number.POSITIVE_INFINITY;
  #cancelWake: (() => void) | undefined;

  constructor(clock: Clock, run: () => Promise<void>) {
    this.#clock = clock;
    this.#run = run;
  }

  poke(): void {
    if (this.#stopped) return;
    this.#wanted = true;
    this.#running ??= new Promise((resolve) => {
      setImmediate(() => void this.#work().then(resolve));
    });
  }

  /** By itself after `ms` at the latest; of several the earliest. A run forgets what was wished for before it. */
  wakeAfter(ms: number): void {
    const at = this.#clock.monotonic() + Math.max(0, ms);
    if (this.#stopped || at >= this.#wakeAt) return;
    this.#cancelWake?.();
    this.#wakeAt = at;
    this.#cancelWake = this.#clock.after(ms, () => {
      this.#wakeAt = Number.POSITIVE_INFINITY;
      this.poke();
    });
  }

  /** Resolves when a run that began after this call has ended, with those that it caused. */
  settled(): Promise<void> {
    this.poke();
    return this.#running ?? Promise.resolve();
  }

  /** No run begins any more; resolves when the one that is under way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelWake?.();
    await this.#running;
  }

  async #work(): Promise<void> {
    while (this.#wanted && !this.#stopped) {
      this.#wanted = false;
      this.#cancelWake?.();
      this.#wakeAt = Number.POSITIVE_INFINITY;
      await this.#run();
    }
    this.#running = undefined;
    // Poked between the last look and now.
    if (this.#wanted) this.poke();
  }
}
