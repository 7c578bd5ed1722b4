/**
 * Exponential back-off with full jitter: the n-th wait is uniform in [0, min(maxMs, baseMs * 2^n)].
 * The shape Envoy documents for retries and xDS reconnects.
 */
export class Backoff {
  #attempt = 0;
  readonly #baseMs: number;
  readonly #maxMs: number;
  readonly #random: () => number;

  constructor(baseMs: number, maxMs: number, random: () => number = Math.random) {
    this.#baseMs = baseMs;
    this.#maxMs = maxMs;
    this.#random = random;
  }
  next(): number {
    const ceiling = Math.min(this.#maxMs, this.#baseMs * 2 ** this.#attempt);
    if (ceiling < this.#maxMs) this.#attempt++;
    return this.#random() * ceiling;
  }
  reset(): void {
    this.#attempt = 0;
  }
}
