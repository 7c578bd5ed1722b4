/**
 * One timer for the deadlines of all connections of the process: they are looked at once a second, or when the next one
 * is due, so that a request arms nothing. A deadline is never early and at most about a second late.
 */
import { type Clock, systemClock } from "#lib/clock.ts";

export interface Swept {
  /** Ends what is overdue; ms until the next deadline, Infinity without one. */
  sweep(nowMs: number): number;
}

const LONGEST_PAUSE_MS = 1000;
const SHORTEST_PAUSE_MS = 20;

export class Sweep {
  readonly #clock: Clock;
  readonly #all = new Set<Swept>();
  #cancel: (() => void) | null = null;
  #nextMs = 0;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  add(swept: Swept): void {
    this.#all.add(swept);
    const nowMs = this.#clock.monotonic();
    this.#arm(nowMs, swept.sweep(nowMs));
  }

  delete(swept: Swept): void {
    this.#all.delete(swept);
  }

  #arm(nowMs: number, dueMs: number): void {
    const pauseMs = Math.max(SHORTEST_PAUSE_MS, Math.min(LONGEST_PAUSE_MS, dueMs));
    if (this.#cancel !== null && this.#nextMs <= nowMs + pauseMs) return;
    this.#cancel?.();
    this.#nextMs = nowMs + pauseMs;
    this.#cancel = this.#clock.after(pauseMs, () => this.#run());
  }

  #run(): void {
    this.#cancel = null;
    const nowMs = this.#clock.monotonic();
    let dueMs = LONGEST_PAUSE_MS;
    for (const swept of this.#all) dueMs = Math.min(dueMs, swept.sweep(nowMs));
    if (this.#all.size > 0) this.#arm(nowMs, dueMs);
  }
}

export const PROCESS_SWEEP = new Sweep();
