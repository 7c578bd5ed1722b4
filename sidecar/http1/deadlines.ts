/** What limits the time of one downstream connection and of the stream on it; Envoy's timeouts of the connection manager. */
import type { Socket as NetSocket } from "node:net";
import { peerClosed } from "#lib/peer-closed.ts";
import type { DownstreamConnection } from "./downstream.ts";
import { Verdict } from "./errors.ts";
import type { Exchange } from "./exchange.ts";
import type { Socket } from "./pool.ts";
import type { Swept } from "./sweep.ts";

/** Of a connection; 0 = none. Those of a stream are set on its exchange. */
export interface ConnectionLimits {
  /** Without a request; the connection is closed. */
  readonly idleTimeoutMs: number;
  /** After it the connection ends with the exchange under way. */
  readonly maxDurationMs: number;
}

export class Deadlines implements Swept {
  readonly #connection: DownstreamConnection;
  readonly #limits: ConnectionLimits;
  #openedMs = -1;
  /** Bytes that had passed at the last look: who moves none between two looks is idle. Costs the hot path nothing. */
  #bytes = 0;
  #movedMs = 0;
  #exchange: Exchange | null = null;
  #beganMs = 0;

  constructor(connection: DownstreamConnection, limits: ConnectionLimits) {
    this.#connection = connection;
    this.#limits = limits;
  }

  sweep(nowMs: number): number {
    const connection = this.#connection;
    // Who is not read is not heard leaving either.
    if (connection.exchange !== null && connection.socket.isPaused() && peerClosed(connection.socket))
      connection.onClientGone();
    const exchange = connection.exchange ?? connection.tunnel;
    const bytes = bytesOf(connection.socket);
    if (this.#openedMs < 0) this.#openedMs = nowMs;
    if (bytes !== this.#bytes || exchange !== this.#exchange || this.#openedMs === nowMs)
      this.#movedMs = nowMs;
    if (exchange !== this.#exchange) this.#beganMs = nowMs;
    this.#bytes = bytes;
    this.#exchange = exchange;
    const connectionMs = this.#sweepConnection(nowMs);
    return exchange === null ? connectionMs : Math.min(connectionMs, this.#sweepStream(exchange, nowMs));
  }

  #sweepConnection(nowMs: number): number {
    const connection = this.#connection;
    const { idleTimeoutMs, maxDurationMs } = this.#limits;
    let dueMs = Number.POSITIVE_INFINITY;
    if (maxDurationMs > 0 && !connection.draining) {
      dueMs = this.#openedMs + maxDurationMs - nowMs;
      if (dueMs <= 0) connection.drain();
    }
    if (idleTimeoutMs > 0 && connection.idle) {
      const idleMs = this.#movedMs + idleTimeoutMs - nowMs;
      if (idleMs <= 0) connection.closeIdle();
      else dueMs = Math.min(dueMs, idleMs);
    }
    return dueMs > 0 ? dueMs : Number.POSITIVE_INFINITY;
  }

  #sweepStream(exchange: Exchange, nowMs: number): number {
    const { streamIdleMs, requestTimeoutMs, maxDurationMs } = exchange;
    const durationMs = maxDurationMs > 0 ? this.#beganMs + maxDurationMs - nowMs : Number.POSITIVE_INFINITY;
    const requestMs =
      requestTimeoutMs > 0 && !exchange.requestRead && !exchange.responseStarted
        ? this.#beganMs + requestTimeoutMs - nowMs
        : Number.POSITIVE_INFINITY;
    const idleMs = streamIdleMs > 0 ? this.#movedMs + streamIdleMs - nowMs : Number.POSITIVE_INFINITY;
    const dueMs = Math.min(durationMs, requestMs, idleMs);
    if (dueMs > 0) return dueMs;
    if (exchange === this.#connection.tunnel) this.#connection.socket.destroy();
    else if (durationMs <= 0) exchange.onLimit(Verdict.MaxStreamDuration);
    else exchange.onLimit(requestMs <= 0 ? Verdict.RequestTimeout : Verdict.StreamIdle);
    return Number.POSITIVE_INFINITY;
  }
}

function bytesOf(socket: Socket): number {
  const { bytesRead, bytesWritten } = socket as Partial<Pick<NetSocket, "bytesRead" | "bytesWritten">>;
  return (bytesRead ?? 0) + (bytesWritten ?? 0);
}
