// hot path
/** One client connection: heads in order, one exchange at a time, what follows waits unread (bounded pipelining). */
import { timerMs } from "#lib/clock.ts";
import { resetSocket } from "#lib/reset-socket.ts";
import { splice } from "#lib/splice.ts";
import { BodyReader } from "./body.ts";
import { dateLine } from "./date.ts";
import { type ConnectionLimits, Deadlines } from "./deadlines.ts";
import { failureOf, reasonOf, Verdict } from "./errors.ts";
import { Exchange, type ExchangeHandler } from "./exchange.ts";
import { MAX_HEAD_BYTES } from "./header-block.ts";
import { Outbox } from "./outbox.ts";
import type { Socket } from "./pool.ts";
import { type BytesOwner, READER, type ReadSocket } from "./read-buffer.ts";
import { RequestHead } from "./request-head.ts";
import { PROCESS_SWEEP, type Sweep } from "./sweep.ts";

export interface DownstreamOptions {
  /** From the first byte of a head to its end; 408 after it. */
  readonly headTimeoutMs: number;
  /** How long bytes are still read and dropped after an answer that closes, so that a reset cannot swallow it. */
  readonly lingerMs: number;
  /** Longest head, where it is below the codec's own limit. */
  readonly maxHeadBytes?: number;
  readonly limits?: ConnectionLimits;
  readonly sweep?: Sweep;
}

const NO_LIMITS: ConnectionLimits = { idleTimeoutMs: 0, maxDurationMs: 0 };

const State = { Head: 0, Exchange: 1, Closing: 2, Tunnel: 3 } as const;
type State = (typeof State)[keyof typeof State];
/** So much of what follows a request is read before its answer: a client that leaves is seen behind it. */
const MAX_AHEAD_BYTES = 16 * 1024;
/** Progress shows only when a whole write is done, and that may be a big one: so often the linger timeout may pass. */
const MAX_STALLS = 30;
/** For so many linger timeouts what a client goes on to send after its answer is read and dropped. */
const MAX_DRAINS = 10;
/** One more than seems needed: a process that waits for the CPU has read nothing either. */
const MAX_QUIET = 2;
/** Quiet for so long, then asked ten times, a second apart (libuv). */
const KEEPALIVE_MS = 60_000;
const OWNER = Symbol("downstream connection");
type OwnedSocket = Socket & { [OWNER]: DownstreamConnection };
const EMPTY = Buffer.alloc(0);

export class DownstreamConnection implements BytesOwner {
  readonly socket: Socket;
  readonly out: Outbox;
  readonly handler: ExchangeHandler;
  readonly options: DownstreamOptions;
  exchange: Exchange | null = null;
  /** The exchange whose upgrade made this connection a tunnel. */
  tunnel: Exchange | null = null;
  /** Set to let the connection end after the exchange under way. */
  draining = false;
  #head = new RequestHead();
  readonly #body = new BodyReader();
  #state: State = State.Head;
  #buffer: Buffer = EMPTY;
  #at = 0;
  #closeAfter = false;
  #running = false;
  #blocked = false;
  /** The bytes at hand belong to the read buffer. */
  #borrowed = false;
  /** While closing: bytes not yet taken by the kernel, and for how many timeouts there was no progress to be seen. */
  #unsent = 0;
  #stalls = 0;
  /** Bytes read at the last look, and for how many timeouts more have come. */
  #drained = 0;
  #drains = 0;
  #quiet = 0;
  #timer: NodeJS.Timeout | null = null;
  readonly #maxHeadBytes: number;
  readonly #sweep: Sweep;
  readonly #deadlines: Deadlines;

  constructor(socket: Socket, handler: ExchangeHandler, options: DownstreamOptions) {
    this.socket = socket;
    this.out = new Outbox(socket);
    this.handler = handler;
    this.options = options;
    (socket as OwnedSocket)[OWNER] = this;
    socket.setNoDelay?.(true);
    // A client whose host is gone sends neither FIN nor RST, and the stream's idle timeout may be off (as istiod has it).
    socket.setKeepAlive?.(true, KEEPALIVE_MS);
    if ((socket as ReadSocket)[READER] === null) (socket as ReadSocket)[READER] = this;
    // Read by callback, it still owes as a stream what was read while its protocol was found out.
    socket.on("data", onData);
    socket.on("drain", onDrain);
    socket.on("end", onEnd);
    socket.on("error", onClose);
    socket.on("close", onClose);
    this.#maxHeadBytes = options.maxHeadBytes ?? MAX_HEAD_BYTES;
    this.#deadlines = new Deadlines(this, options.limits ?? NO_LIMITS);
    this.#sweep = options.sweep ?? PROCESS_SWEEP;
    this.#sweep.add(this.#deadlines);
  }

  /** Waits for a request, of which no byte is here; or for its client to take the last answer. */
  get idle(): boolean {
    return this.#state === State.Head && this.#timer === null;
  }

  /** The connection ends: now if nothing is under way, else with the exchange. */
  drain(): void {
    this.draining = true;
    if (this.#state === State.Head && this.#at === this.#buffer.length) this.#close();
  }

  closeIdle(): void {
    if (this.idle) this.#close();
  }

  /**
   * A head outlives the call, pipelined requests may: small copies come from Node's pool. A body that is passed on at once is
   * not copied here: a fresh buffer for each read of an upload was 90 MiB that nobody held any more (Node 24.21).
   */
  onBytes(bytes: Buffer): void {
    if (
      this.#state !== State.Exchange ||
      this.#body.done ||
      this.#blocked ||
      this.#at < this.#buffer.length
    ) {
      this.onData(Buffer.from(bytes));
      return;
    }
    this.#borrowed = true;
    this.onData(bytes);
    this.#keepRest();
  }

  /** The bytes at hand are about to be overwritten, or become a head. */
  #keepRest(): void {
    if (!this.#borrowed) return;
    this.#borrowed = false;
    this.#buffer = this.#at < this.#buffer.length ? Buffer.from(this.#buffer.subarray(this.#at)) : EMPTY;
    this.#at = 0;
  }

  onData(chunk: Buffer): void {
    if (this.#state === State.Closing) return;
    this.#buffer =
      this.#at === this.#buffer.length ? chunk : Buffer.concat([this.#buffer.subarray(this.#at), chunk]);
    this.#at = 0;
    this.#run();
  }

  #run(): void {
    if (this.#running) return;
    this.#running = true;
    while (this.#step());
    this.#running = false;
    this.exchange?.flushRequest();
  }

  /** More of the bytes at hand is about to be read: who writes may wait for it. */
  get running(): boolean {
    return this.#running;
  }

  /** True if there may be more to do with the bytes at hand. */
  #step(): boolean {
    if (this.#state === State.Head) {
      if (this.#at === this.#buffer.length) return false;
      if (this.socket.writableNeedDrain) {
        // A client that does not read gets no further answers: they would pile up here (CVE-2020-8661).
        this.socket.pause();
        return false;
      }
      this.#keepRest();
      if (this.#at > 0) {
        this.#buffer = this.#buffer.subarray(this.#at);
        this.#at = 0;
      }
      let verdict = this.#head.parse(this.#buffer);
      const headBytes = verdict === Verdict.Ok ? this.#head.end : this.#buffer.length;
      if (headBytes > this.#maxHeadBytes && (verdict === Verdict.Ok || verdict === Verdict.NeedMore))
        verdict = Verdict.HeadTooLarge;
      if (verdict === Verdict.NeedMore) {
        this.#timer ??= setTimeout(onHeadTimeout, timerMs(this.options.headTimeoutMs), this);
        return false;
      }
      this.#clearTimer();
      if (verdict !== Verdict.Ok) {
        this.fail(verdict);
        return false;
      }
      this.#at = this.#head.end;
      this.#state = State.Exchange;
      this.#closeAfter = !this.#head.keepAlive || this.draining;
      this.#body.begin(this.#head.length);
      const exchange = new Exchange(this, this.#head);
      this.exchange = exchange;
      if (this.#body.done) exchange.onRequestEnd();
      this.handler.onRequest(exchange);
      return true;
    }
    if (this.#state !== State.Exchange || this.exchange === null) return false;
    if (this.#body.done) {
      if (this.#buffer.length - this.#at > MAX_AHEAD_BYTES) this.socket.pause();
      return false;
    }
    if (this.#blocked || this.#at === this.#buffer.length) return false;
    this.#at = this.#body.next(this.#buffer, this.#at);
    if (this.#body.verdict !== Verdict.Ok) {
      this.fail(this.#body.verdict);
      return false;
    }
    if (this.#body.dataEnd > this.#body.dataStart) {
      this.exchange.onRequestData(
        this.#buffer.subarray(this.#body.dataStart, this.#body.dataEnd),
        this.#borrowed,
      );
    }
    if (this.#body.done) this.exchange?.onRequestEnd();
    return true;
  }

  /** The exchange goes ahead: a client that waits for 100 Continue may send. */
  wantBody(): void {
    if (this.#head.expectsContinue && !this.#body.done) this.write("HTTP/1.1 100 Continue\r\n\r\n");
  }

  write(text: string): boolean {
    this.out.add(text);
    return this.out.flush();
  }

  mayKeepAlive(): boolean {
    return !this.#closeAfter && !this.draining && this.#body.done;
  }

  closeAfterExchange(): void {
    this.#closeAfter = true;
  }

  pauseReading(): void {
    this.#blocked = true;
    this.socket.pause();
  }

  resumeReading(): void {
    if (!this.#blocked) return;
    this.#blocked = false;
    this.socket.resume();
    this.#run();
  }

  onExchangeEnd(keep: boolean): void {
    this.exchange = null;
    this.out.flush();
    if (!keep || this.#closeAfter || !this.#body.done) {
      this.#close();
      return;
    }
    this.#state = State.Head;
    this.#head.reset(0);
    this.#blocked = false;
    this.socket.resume();
    this.#run();
  }

  /** One answer, then nothing of this connection is read as HTTP again. */
  fail(verdict: Verdict): void {
    // A refused head is an exchange too: it is counted and logged.
    const exchange = this.exchange ?? new Exchange(this, this.#head);
    const { status } = failureOf(verdict);
    if (!exchange.responseStarted) exchange.status = status;
    exchange.cancel(verdict);
    this.exchange = null;
    if (exchange.responseStarted) {
      this.abort();
      return;
    }
    const reason = reasonOf(status);
    this.write(
      `HTTP/1.1 ${status} ${reason}\r\ncontent-length: ${reason.length}\r\ncontent-type: text/plain\r\nconnection: close\r\n${dateLine()}\r\n${reason}`,
    );
    this.#close();
  }

  #close(): void {
    this.#clearTimer();
    this.#state = State.Closing;
    this.#buffer = EMPTY;
    this.#at = 0;
    this.socket.end();
    this.socket.resume();
    this.#unsent = this.socket.writableLength;
    this.#drained = (this.socket as { bytesRead?: number }).bytesRead ?? 0;
    this.#timer = setTimeout(onLingerTimeout, this.options.lingerMs, this);
  }

  /**
   * An answer that is still on its way is not cut short: a slow reader gets its end, one that stopped does not. Who still
   * sends what nobody wants is read for a while: a reset would take the answer from it.
   */
  onLingerTimeout(): void {
    const unsent = this.socket.writableLength;
    const read = (this.socket as { bytesRead?: number }).bytesRead ?? 0;
    if (unsent < this.#unsent) this.#stalls = 0;
    else if (unsent > 0) this.#stalls++;
    else if (read === this.#drained) this.#quiet++;
    else {
      this.#quiet = 0;
      this.#drains++;
    }
    if (this.#stalls === MAX_STALLS || this.#quiet === MAX_QUIET || this.#drains === MAX_DRAINS) {
      this.socket.destroy();
      return;
    }
    this.#unsent = unsent;
    this.#drained = read;
    this.#timer = setTimeout(onLingerTimeout, this.options.lingerMs, this);
  }

  abort(): void {
    this.#clearTimer();
    this.out.flush();
    this.exchange = null;
    this.#state = State.Closing;
    resetSocket(this.socket);
  }

  tunnelTo(upstream: Socket, early: Buffer): void {
    this.#state = State.Tunnel;
    this.tunnel = this.exchange;
    this.exchange = null;
    const { socket } = this;
    if ((socket as ReadSocket)[READER] === this) (socket as ReadSocket)[READER] = null;
    socket.off("data", onData);
    socket.off("drain", onDrain);
    socket.off("end", onEnd);
    this.out.flush();
    if (early.length > 0) socket.write(early);
    this.#keepRest();
    if (this.#at < this.#buffer.length) upstream.write(this.#buffer.subarray(this.#at));
    this.#buffer = EMPTY;
    this.#at = 0;
    splice(socket, upstream);
  }

  /**
   * A client that ends its side has left, as for Envoy: HTTP/1.1 has no half-close (RFC 9112 9.6 warns of it). A request
   * under way is cancelled, those behind it are never read.
   */
  onEnd(): void {
    if (this.#state === State.Head) this.#close();
    else if (this.#state !== State.Exchange) return;
    else if (!this.#body.done && this.#at === this.#buffer.length) this.fail(Verdict.PrematureEnd);
    else this.onClientGone();
  }

  /** Half an answer must look like half, should somebody still read it. */
  onClientGone(): void {
    const exchange = this.exchange!;
    exchange.cancel(Verdict.DownstreamGone);
    if (exchange.responseStarted) this.abort();
    else this.socket.destroy();
  }

  onDrain(): void {
    if (this.exchange !== null) this.exchange.resumeUpstream();
    else if (this.#state === State.Head) {
      this.socket.resume();
      this.#run();
    }
  }

  onClose(): void {
    this.#clearTimer();
    this.#sweep.delete(this.#deadlines);
    const exchange = this.exchange;
    this.exchange = null;
    if (this.#state !== State.Tunnel) this.#state = State.Closing;
    exchange?.cancel(Verdict.DownstreamGone);
    this.socket.destroy();
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}

function onData(this: Socket, chunk: Buffer): void {
  (this as OwnedSocket)[OWNER].onData(chunk);
}
function onDrain(this: Socket): void {
  (this as OwnedSocket)[OWNER].onDrain();
}
function onEnd(this: Socket): void {
  (this as OwnedSocket)[OWNER].onEnd();
}
function onClose(this: Socket): void {
  (this as OwnedSocket)[OWNER].onClose();
}
function onHeadTimeout(connection: DownstreamConnection): void {
  connection.fail(Verdict.HeadTimeout);
}
function onLingerTimeout(connection: DownstreamConnection): void {
  connection.onLingerTimeout();
}
