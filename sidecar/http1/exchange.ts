// hot path
/** One request from its downstream head to the end of its response. Routing and filters plug in as ExchangeHandler. */
import { timerMs } from "#lib/clock.ts";
import { dateLine } from "./date.ts";
import type { DownstreamConnection } from "./downstream.ts";
import { failureOf, limitBody, reasonOf, upstreamFailureBody, Verdict } from "./errors.ts";
import type { HostPool } from "./pool.ts";
import { CHUNKED, type RequestHead, UNTIL_CLOSE } from "./request-head.ts";
import type { ResponseHead } from "./response-head.ts";
import type { UpstreamConnection } from "./upstream.ts";
import {
  addedFields,
  downstreamFraming,
  type HeadEdits,
  NO_FRAMING,
  writeRequestHead,
  writeResponseHead,
} from "./write-head.ts";

export const NO_RETRY = -1;

const EMPTY = Buffer.alloc(0);
/** Largest request body kept for a retry. */
const MAX_REPLAY_BYTES = 64 * 1024;

export interface ExchangeHandler {
  /** Now or later answer with `exchange.forward(pool)` or `exchange.respond(...)`. */
  onRequest(exchange: Exchange): void;
  /** May set `exchange.responseEdits`, or return in how many ms to retry (only if `exchange.canReplay`); else NO_RETRY. */
  onResponse(exchange: Exchange, head: ResponseHead): number;
  /** Before any response byte: in how many ms to try again, or NO_RETRY to answer with the failure. */
  onAttemptFailed(exchange: Exchange, verdict: Verdict): number;
  /** The time of a retry has come: with `exchange.forward(pool)` or `exchange.respond(...)`. */
  onRetry(exchange: Exchange): void;
  /** Once per exchange, when it is over, however it ended. */
  onComplete(exchange: Exchange): void;
}

export class Exchange {
  readonly downstream: DownstreamConnection;
  readonly request: RequestHead;
  requestEdits: HeadEdits | null = null;
  responseEdits: HeadEdits | null = null;
  /** Set before `forward` to the Upgrade token allowed to pass (from `request.upgrade`), else "". */
  upgrade = "";
  /** Set before `forward` for a CONNECT that ends here: a tunnel to the host instead of a request. */
  tunnels = false;
  /** Whole exchange and one attempt, in ms; 0 = none. Set before `forward`. */
  timeoutMs = 0;
  tryTimeoutMs = 0;
  /** Kept by Deadlines, in ms; 0 = none: no byte either way, the whole request, the whole exchange. */
  streamIdleMs = 0;
  requestTimeoutMs = 0;
  maxDurationMs = 0;
  /** Retry budget the handler set; a body is kept for replay only if above 0. */
  retries = 0;
  attempts = 0;
  status = 0;
  detail = "";
  verdict: Verdict = Verdict.Ok;
  readonly startMs = performance.now();
  bytesReceived = 0;
  bytesSent = 0;
  requestSent = false;
  requestRead = false;
  responseStarted = false;
  done = false;
  /** A place for the handler's own state. */
  context: unknown = null;
  #upstream: UpstreamConnection | null = null;
  #headSent = false;
  /** It was sent again once, for a kept connection that had died. */
  #renewed = false;
  #kept: Buffer[] = [];
  #keptBytes = 0;
  #replayable = true;
  #framing = 0;
  #timer: NodeJS.Timeout | null = null;
  #tryTimer: NodeJS.Timeout | null = null;
  #retryTimer: NodeJS.Timeout | null = null;

  constructor(downstream: DownstreamConnection, request: RequestHead) {
    this.downstream = downstream;
    this.request = request;
  }

  get canReplay(): boolean {
    return this.#replayable && !this.responseStarted && this.upgrade === "";
  }

  /** "ip:port" of our end of the connection to the host; "" without one. */
  get upstreamLocalAddress(): string {
    const socket = this.#upstream?.socket as { localAddress?: string; localPort?: number } | null | undefined;
    return socket?.localAddress === undefined ? "" : `${socket.localAddress}:${socket.localPort}`;
  }

  forward(pool: HostPool): void {
    if (this.done) return;
    if (this.attempts === 0 && this.timeoutMs > 0)
      this.#timer = setTimeout(onTimeout, timerMs(this.timeoutMs), this);
    if (this.attempts === 0) this.downstream.wantBody();
    this.attempts++;
    if (this.tryTimeoutMs > 0) this.#tryTimer = setTimeout(onTryTimeout, timerMs(this.tryTimeoutMs), this);
    this.#begin(this.tunnels ? pool.takeNew() : pool.take());
  }

  /** A byte of this attempt has gone to a host, which may act on it. */
  get headSent(): boolean {
    return this.#headSent;
  }

  #begin(upstream: UpstreamConnection): void {
    this.#headSent = false;
    this.requestSent = false;
    this.#upstream = upstream;
    upstream.begin(this);
  }

  /** The request is kept meanwhile; a client that leaves ends it. */
  #retryIn(delayMs: number): void {
    this.#headSent = false;
    if (delayMs < 1) this.downstream.handler.onRetry(this);
    else this.#retryTimer = setTimeout(onRetryTime, timerMs(delayMs), this);
  }

  onRetryTime(): void {
    this.#retryTimer = null;
    if (!this.done) this.downstream.handler.onRetry(this);
  }

  /** Answers from here: status and a short text body. */
  respond(status: number, detail: string, body: string = "", close = false): void {
    if (this.done) return;
    this.#abandonUpstream();
    if (this.responseStarted) {
      this.downstream.abort();
      this.#complete();
      return;
    }
    this.responseStarted = true;
    this.status = status;
    this.detail = detail;
    const keep =
      !close && this.upgrade === "" && this.request.method !== "CONNECT" && this.downstream.mayKeepAlive();
    // RFC 9110 8.6, 15.4.5: these have no content and say no length.
    const bodiless = status === 204 || status === 304;
    const content = bodiless ? "" : asLatin1(body);
    let out = `HTTP/1.1 ${status} ${reasonOf(status)}\r\n`;
    if (!bodiless) out += `content-length: ${content.length}\r\n`;
    if (content !== "" && this.responseEdits?.adds("content-type") !== true)
      out += "content-type: text/plain\r\n";
    if (!keep) out += "connection: close\r\n";
    if (this.responseEdits?.adds("date") !== true) out += dateLine();
    out += addedFields(this.responseEdits);
    const sent = this.request.method === "HEAD" ? "" : content;
    this.bytesSent = sent.length;
    this.downstream.write(`${out}\r\n${sent}`);
    this.#complete();
    this.downstream.onExchangeEnd(keep);
  }

  onUpstreamReady(): void {
    if (this.tunnels) {
      // RFC 9110 9.3.6: no length, no coding.
      this.status = 200;
      this.#tunnel(this.#upstream!, `HTTP/1.1 200 OK\r\n${dateLine()}\r\n`, EMPTY);
      return;
    }
    const out = this.#upstream!.out!;
    this.#headSent = true;
    out.add(writeRequestHead(this.request, this.requestEdits, this.upgrade));
    for (let i = 0; i < this.#kept.length; i++) this.#sendPiece(this.#kept[i]!, false);
    if (this.requestRead) this.#sendEnd();
    if (this.requestRead || !this.downstream.running) out.flush();
    if (this.retries === 0) this.#dropKept();
    this.downstream.resumeReading();
  }

  /** One piece of request body from downstream. `borrowed`: its bytes are overwritten after this. */
  onRequestData(piece: Buffer, borrowed: boolean): void {
    this.bytesReceived += piece.length;
    if (!this.#headSent || (this.#replayable && this.retries > 0)) {
      this.#kept.push(borrowed ? Buffer.from(piece) : piece);
      this.#keptBytes += piece.length;
    } else this.#replayable = false;
    if (!this.#headSent) {
      if (this.#keptBytes >= MAX_REPLAY_BYTES) this.downstream.pauseReading();
      return;
    }
    if (this.#keptBytes > MAX_REPLAY_BYTES || this.retries === 0) this.#dropKept();
    if (this.#upstream !== null && !this.#sendPiece(piece, borrowed)) this.downstream.pauseReading();
  }

  onRequestEnd(): void {
    this.requestRead = true;
    if (this.#headSent && this.#upstream !== null) this.#sendEnd();
  }

  #sendPiece(piece: Buffer, borrowed: boolean): boolean {
    const out = this.#upstream!.out!;
    if (this.request.length !== CHUNKED) return out.addBytes(piece, borrowed);
    out.add(`${piece.length.toString(16)}\r\n`);
    const more = out.addBytes(piece, borrowed);
    out.add("\r\n");
    return more;
  }

  #sendEnd(): void {
    if (this.request.length === CHUNKED) this.#upstream!.out!.add("0\r\n\r\n");
    this.requestSent = true;
  }

  /** The bytes at hand are read: what was gathered of the request goes. */
  flushRequest(): void {
    if (this.#headSent && this.#upstream?.out?.flush() === false) this.downstream.pauseReading();
  }

  /** The same for the response. */
  flushResponse(): void {
    if (!this.downstream.out.flush()) this.pauseUpstream();
  }

  #dropKept(): void {
    if (this.#keptBytes > 0) this.#replayable = false;
    this.#kept = [];
    this.#keptBytes = 0;
  }

  onInformational(head: ResponseHead): void {
    // Our own 100 has gone out already when the client asked for one.
    if (this.request.minor === 1 && head.status !== 100)
      this.downstream.write(writeResponseHead(head, null, NO_FRAMING, ""));
  }

  /** False if the response was thrown away for a retry. */
  onResponseHead(head: ResponseHead): boolean {
    // A host that waited too long for a request on a kept connection says so when it closes (RFC 9110 15.5.9).
    if (head.status === 408 && !head.keepAlive && this.#renews(this.#upstream!)) return false;
    const delayMs = this.downstream.handler.onResponse(this, head);
    if (delayMs >= 0 && this.canReplay) {
      this.#abandonUpstream();
      this.#retryIn(delayMs);
      return false;
    }
    this.#clearTryTimer();
    this.#dropKept();
    this.responseStarted = true;
    this.status = head.status;
    this.detail = failureOf(Verdict.Ok).detail;
    this.#framing = downstreamFraming(head, this.request.method, this.request.minor);
    // Bytes that were sent ahead for the refused protocol must not be read as requests (CVE-2025-64763).
    const keep = this.#framing !== UNTIL_CLOSE && this.upgrade === "" && this.downstream.mayKeepAlive();
    if (!keep) this.downstream.closeAfterExchange();
    const connection = keep ? (this.request.minor === 0 ? "keep-alive" : "") : "close";
    this.downstream.out.add(writeResponseHead(head, this.responseEdits, this.#framing, connection));
    return true;
  }

  onResponseData(piece: Buffer, borrowed: boolean): void {
    this.bytesSent += piece.length;
    const { out } = this.downstream;
    if (this.#framing === CHUNKED) out.add(`${piece.length.toString(16)}\r\n`);
    if (!out.addBytes(piece, borrowed)) this.pauseUpstream();
    if (this.#framing === CHUNKED) out.add("\r\n");
  }

  onResponseEnd(): void {
    this.#upstream = null;
    if (this.#framing === CHUNKED) this.downstream.out.add("0\r\n\r\n");
    this.downstream.out.flush();
    this.#complete();
    this.downstream.onExchangeEnd(true);
  }

  /** Only a real 101 to a request that asked makes a tunnel; early bytes were held until now (CVE-2025-64763). */
  onUpgraded(upstream: UpstreamConnection, early: Buffer): void {
    this.status = 101;
    this.downstream.handler.onResponse(this, upstream.head); // the route's header mutations; a tunnel is never retried
    const head = writeResponseHead(upstream.head, this.responseEdits, NO_FRAMING, "upgrade");
    this.#tunnel(upstream, `${head.slice(0, -2)}upgrade: ${upstream.head.upgrade}\r\n\r\n`, early);
  }

  #tunnel(upstream: UpstreamConnection, head: string, early: Buffer): void {
    this.responseStarted = true;
    this.detail = failureOf(Verdict.Ok).detail;
    this.#upstream = null;
    this.downstream.write(head);
    upstream.detach();
    this.#complete();
    this.downstream.tunnelTo(upstream.socket!, early);
  }

  /** The connection is gone already. */
  onUpstreamFailure(verdict: Verdict): void {
    const upstream = this.#upstream;
    this.#upstream = null;
    if (this.done) return;
    const reused = upstream?.used === true;
    if (reused && (upstream.unread || !this.#headSent) && this.#renews(upstream)) return;
    this.verdict = verdict;
    if (this.responseStarted) {
      // Half a response must look like half a response: reset, never a clean end (RFC 9112 8).
      this.detail = "upstream_reset_after_response_started";
      this.downstream.abort();
      this.#complete();
      return;
    }
    this.#clearTryTimer();
    if (this.canReplay) {
      const delayMs = this.downstream.handler.onAttemptFailed(this, verdict);
      if (delayMs >= 0 && (!reused || isSafe(this.request.method) || verdict === Verdict.ConnectFailure)) {
        this.#retryIn(delayMs);
        return;
      }
    }
    const failure = failureOf(verdict);
    this.respond(failure.status, failure.detail, upstreamFailureBody(verdict, this.attempts > 1));
  }

  /**
   * A kept connection was closed by its host, which had not read the request: once, on a new connection, it is sent again
   * (RFC 9112 9.3.1). What is not safe only where nothing had been sent: a part may have been read (RFC 9110 9.2.2).
   */
  #renews(upstream: UpstreamConnection): boolean {
    if (this.#renewed || !upstream.used || !this.canReplay) return false;
    if (this.#headSent && !isSafe(this.request.method)) return false;
    this.#renewed = true;
    if (this.#upstream !== null) {
      this.#upstream = null;
      upstream.release(false);
    }
    this.#begin(upstream.pool.takeNew());
    return true;
  }

  /** The client left, or sent a body that cannot be: nothing more goes either way. */
  cancel(verdict: Verdict): void {
    if (this.done) return;
    this.verdict = verdict;
    this.detail = failureOf(verdict).detail;
    this.#abandonUpstream();
    this.#complete();
  }

  onTimeout(): void {
    this.verdict = Verdict.ResponseTimeout;
    const { detail } = failureOf(this.verdict);
    this.detail = detail;
    this.respond(504, detail, upstreamFailureBody(this.verdict, false));
  }

  /** A limit of the stream ran out. Once the answer has begun it breaks off: half of it must look like half. */
  onLimit(verdict: Verdict): void {
    if (this.done) return;
    const { status, detail } = failureOf(verdict);
    this.verdict = verdict;
    this.detail = detail;
    this.respond(this.requestRead ? 504 : status, detail, limitBody(verdict));
  }

  onTryTimeout(): void {
    this.#tryTimer = null;
    this.#upstream?.fail(Verdict.ResponseTimeout);
  }

  pauseUpstream(): void {
    this.#upstream?.socket?.pause();
  }

  resumeUpstream(): void {
    this.#upstream?.socket?.resume();
  }

  resumeDownstream(): void {
    this.downstream.resumeReading();
  }

  #abandonUpstream(): void {
    this.#clearTryTimer();
    const upstream = this.#upstream;
    this.#upstream = null;
    if (upstream !== null) upstream.release(false);
  }

  #clearTryTimer(): void {
    if (this.#tryTimer !== null) clearTimeout(this.#tryTimer);
    this.#tryTimer = null;
  }

  #complete(): void {
    if (this.done) return;
    this.done = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer);
    this.#clearTryTimer();
    this.downstream.handler.onComplete(this);
  }
}

/** The UTF-8 bytes of a text, one character each: so they are counted and written. */
function asLatin1(text: string): string {
  return Buffer.byteLength(text) === text.length ? text : Buffer.from(text).toString("latin1");
}

/** RFC 9110 9.2.1, without TRACE. */
export function isSafe(method: string): boolean {
  return method === "GET" || method === "HEAD" || method === "OPTIONS";
}
function onTimeout(exchange: Exchange): void {
  exchange.onTimeout();
}
function onRetryTime(exchange: Exchange): void {
  exchange.onRetryTime();
}
function onTryTimeout(exchange: Exchange): void {
  exchange.onTryTimeout();
}
