import type { RequestRecord } from "./record.ts";

/** A ring of finished spans: when the collector is slow the oldest are overwritten and counted, nothing waits. */
export class SpanBuffer {
  dropped = 0;
  readonly #ring: (RequestRecord | null)[];
  readonly #wake: () => void;
  #head = 0;
  #size = 0;

  /** `wake` is called for each span that finds the ring empty or half full. */
  constructor(wake: () => void, capacity = 4096) {
    this.#ring = new Array<RequestRecord | null>(capacity).fill(null);
    this.#wake = wake;
  }
  get size(): number {
    return this.#size;
  }
  get halfFull(): boolean {
    return this.#size * 2 >= this.#ring.length;
  }
  push(span: RequestRecord): void {
    const capacity = this.#ring.length;
    this.#ring[(this.#head + this.#size) % capacity] = span;
    if (this.#size < capacity) this.#size++;
    else {
      this.#head = (this.#head + 1) % capacity;
      this.dropped++;
    }
    if (this.#size === 1 || this.#size * 2 === capacity) this.#wake();
  }
  take(most = 512): RequestRecord[] {
    const batch: RequestRecord[] = [];
    while (batch.length < most && this.#size > 0) {
      batch.push(this.#ring[this.#head]!);
      this.#ring[this.#head] = null;
      this.#head = (this.#head + 1) % this.#ring.length;
      this.#size--;
    }
    return batch;
  }
}
