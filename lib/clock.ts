/** Time as a value, so that tests can move it. Milliseconds everywhere. */
export interface Clock {
  /** Wall clock, ms since the epoch: for certificates, logs, spans. */
  now(): number;
  /** Monotonic ms: for durations and deadlines; unaffected by clock steps. */
  monotonic(): number;
  /** Like setTimeout; the returned function cancels. The timer does not keep the process alive. */
  after(ms: number, run: () => void): () => void;
}

// Node fires timers above 2^31-1 ms at once; a longer wait goes in steps.
const LONGEST_TIMER_MS = 0x7fffffff;

/** For setTimeout: what is longer than 24 days ends after 24 days, not at once. `systemClock.after` waits to the end. */
export function timerMs(ms: number): number {
  return Math.min(ms, LONGEST_TIMER_MS);
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, run) {
    let timer: NodeJS.Timeout;
    const arm = (left: number): void => {
      const step = Math.min(left, LONGEST_TIMER_MS);
      timer = setTimeout(() => (left > step ? arm(left - step) : run()), step).unref();
    };
    arm(Math.max(0, ms));
    return () => clearTimeout(timer);
  },
};

/** A clock that moves only when told to. */
export class TestClock implements Clock {
  #now: number;
  #timers: { at: number; run: () => void }[] = [];

  constructor(startMs = 1_700_000_000_000) {
    this.#now = startMs;
  }
  now(): number {
    return this.#now;
  }
  monotonic(): number {
    return this.#now;
  }
  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#now + Math.max(0, ms), run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((t) => t !== timer);
    };
  }
  /** Runs every timer due within `ms`, in order, with the clock standing at its moment. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const due = this.#timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((t) => t !== due);
      this.#now = due.at;
      due.run();
    }
    this.#now = end;
  }
}
