// hot path
/** A sample that must fail: one line for each ban, and two that may stand. */
export class Slow {
  readonly connect: () => Slow;
  headers = new Map<string, string>(); // cold: once per process
  async wait(): Promise<void> {}
  later(): void {
    setImmediate(() => this.later());
    queueMicrotask(this.later.bind(this));
    this.take(...this.all());
    this.seen = new Set("a => b".split(" "));
  }
}
