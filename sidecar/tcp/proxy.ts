import type { Duplex } from "node:stream";
import { type Clock, systemClock } from "#lib/clock.ts";
import { resetSocket } from "#lib/reset-socket.ts";

export interface TcpResult {
  /** From downstream, as Envoy's BYTES_RECEIVED and Istio's istio_tcp_received_bytes_total. */
  readonly receivedBytes: number;
  /** To downstream. */
  readonly sentBytes: number;
  readonly durationMs: number;
  readonly reason: "closed" | "idle" | "downstream-error" | "upstream-error";
}

export interface TcpOptions {
  /** No byte either way for this long ends both sides; 0 = never (Envoy's default is 1 h). */
  readonly idleTimeoutMs: number;
  readonly clock?: Clock;
}

/**
 * Where one side has ended and the other says nothing any more, nobody waits an hour: HAProxy's `timeout client-fin`
 * does the same. Long enough for who answers late.
 */
const HALF_CLOSED_IDLE_MS = 120_000;

/**
 * Joins two streams until both directions have ended. A FIN on one side is passed on alone (half-close), a slow
 * reader stops the other side's reading, an error on either side resets the other. `onDone` is called once.
 * Both streams must have been made with allowHalfOpen.
 */
export class TcpProxy {
  readonly #downstream: Duplex;
  readonly #upstream: Duplex;
  readonly #clock: Clock;
  #idleMs: number;
  readonly #onDone: (result: TcpResult) => void;
  readonly #startedMs: number;
  #sent = 0;
  #received = 0;
  #lastMs: number;
  #cancelIdle: (() => void) | null = null;
  #reason: TcpResult["reason"] = "closed";
  #open = 2;
  #done = false;

  constructor(
    downstream: Duplex,
    upstream: Duplex,
    options: TcpOptions,
    onDone: (result: TcpResult) => void,
  ) {
    this.#downstream = downstream;
    this.#upstream = upstream;
    this.#clock = options.clock ?? systemClock;
    this.#idleMs = options.idleTimeoutMs;
    this.#onDone = onDone;
    this.#startedMs = this.#clock.monotonic();
    this.#lastMs = this.#startedMs;
    this.#pump(downstream, upstream, true);
    this.#pump(upstream, downstream, false);
    downstream.on("error", () => this.#fail("downstream-error"));
    upstream.on("error", () => this.#fail("upstream-error"));
    downstream.on("close", () => this.#closed(downstream, upstream));
    upstream.on("close", () => this.#closed(upstream, downstream));
    if (this.#idleMs > 0) this.#armIdle(this.#idleMs);
    for (const side of [downstream, upstream])
      if (side.readableEnded) this.#halfClosed();
      else side.once("end", () => this.#halfClosed());
  }

  /** So far, from downstream. */
  get receivedBytes(): number {
    return this.#received;
  }
  /** So far, to downstream. */
  get sentBytes(): number {
    return this.#sent;
  }

  #pump(from: Duplex, to: Duplex, outward: boolean): void {
    from.on("data", (chunk: Buffer) => {
      this.#lastMs = this.#clock.monotonic();
      if (outward) this.#received += chunk.length;
      else this.#sent += chunk.length;
      if (!to.write(chunk)) from.pause();
    });
    to.on("drain", () => from.resume());
    // Without a byte before it, the end of a stream that nobody reads yet is emitted all the same: it may have passed.
    if (from.readableEnded) to.end();
    else from.on("end", () => to.end());
  }

  // One timer that looks at the last byte's time, not one re-armed per chunk.
  #armIdle(ms: number): void {
    this.#cancelIdle = this.#clock.after(ms, () => {
      const quiet = this.#clock.monotonic() - this.#lastMs;
      if (quiet >= this.#idleMs) this.#fail("idle");
      else this.#armIdle(this.#idleMs - quiet);
    });
  }

  #halfClosed(): void {
    if (this.#idleMs > 0 && this.#idleMs <= HALF_CLOSED_IDLE_MS) return;
    this.#idleMs = HALF_CLOSED_IDLE_MS;
    this.#cancelIdle?.();
    this.#armIdle(HALF_CLOSED_IDLE_MS);
  }

  #fail(reason: TcpResult["reason"]): void {
    if (this.#reason === "closed") this.#reason = reason;
    resetSocket(this.#downstream);
    resetSocket(this.#upstream);
  }

  #closed(side: Duplex, other: Duplex): void {
    // Closed before its end was read = reset: the other must not wait for bytes that never come. A clean end has
    // already been passed on by end(), and the other side may still be sending.
    if (!side.readableEnded || !side.writableFinished) resetSocket(other);
    this.#open--;
    if (this.#open > 0 || this.#done) return;
    this.#done = true;
    this.#cancelIdle?.();
    this.#onDone({
      sentBytes: this.#sent,
      receivedBytes: this.#received,
      durationMs: this.#clock.monotonic() - this.#startedMs,
      reason: this.#reason,
    });
  }
}
