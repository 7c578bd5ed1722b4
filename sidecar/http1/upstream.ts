// hot path
/** One connection to a host: one exchange at a time; anything unasked for destroys it (RFC 9112 9.2). */
import { readSync } from "node:fs";
import { TLSSocket } from "node:tls";
import { closedBeforeWrite } from "#lib/peer-closed.ts";
import { BodyReader } from "./body.ts";
import { Verdict } from "./errors.ts";
import { type Exchange, isSafe } from "./exchange.ts";
import { Outbox } from "./outbox.ts";
import type { HostPool, Socket } from "./pool.ts";
import { type BytesOwner, cameBefore, READER, type ReadSocket, roundOfWrite } from "./read-buffer.ts";
import { equalsIgnoreCase } from "./request-head.ts";
import { ResponseHead } from "./response-head.ts";

const MAX_INFORMATIONAL = 16;
/** A connection that was idle for longer may have been closed by its host: it is looked at once before it is used. */
const FRESH_MS = 20;
/** Reads of what lies in the kernel when writing has failed. */
const MAX_LAST_READS = 64;
const LAST_READ_BYTES = 64 * 1024;
const OWNER = Symbol("upstream connection");
type OwnedSocket = Socket & { [OWNER]: UpstreamConnection };
const EMPTY = Buffer.alloc(0);

export class UpstreamConnection implements BytesOwner {
  readonly pool: HostPool;
  readonly head = new ResponseHead();
  readonly body = new BodyReader();
  /** Null until the connection, and under TLS the identity of its peer, stands. */
  socket: Socket | null = null;
  out: Outbox | null = null;
  exchange: Exchange | null = null;
  used = false;
  /** It was kept, and its host closed it before it could have read the request. */
  unread = false;
  #served = 0;
  closed = false;
  idleSinceMs = 0;
  /** Idle for so long it is taken no more: its host said when it closes (Keep-Alive); 0 = it did not say. */
  keepMs = 0;
  #buffer: Buffer = EMPTY;
  #inBody = false;
  #informational = 0;
  /** The bytes at hand belong to the read buffer. */
  #borrowed = false;
  /** The round in which a kept connection was taken again; 0 = not known. */
  #takenIn = 0;

  constructor(pool: HostPool) {
    this.pool = pool;
  }

  begin(exchange: Exchange): void {
    this.#served++;
    this.exchange = exchange;
    this.#buffer = EMPTY;
    this.#inBody = false;
    this.#informational = 0;
    this.head.reset(0);
    // Taken again while its own bytes are read, more of them may follow the request.
    this.#takenIn = this.used && !this.#borrowed ? roundOfWrite() : 0;
    if (this.closed) {
      // It failed while it was made.
      this.exchange = null;
      exchange.onUpstreamFailure(Verdict.ConnectFailure);
    } else if (this.socket !== null) {
      if (this.used && !isSafe(exchange.request.method) && performance.now() - this.idleSinceMs > FRESH_MS)
        setImmediate(afterNextRead, this, exchange);
      else exchange.onUpstreamReady();
    }
  }

  /** A FIN that lay in the kernel would have been read by now: what may not be sent twice goes to a connection that lives. */
  onLookedAt(exchange: Exchange): void {
    if (this.exchange === exchange) exchange.onUpstreamReady();
  }

  onOpen(socket: Socket): void {
    if (this.closed) {
      socket.on("error", ignore);
      socket.destroy();
      return;
    }
    this.socket = socket;
    const onWritten = (error?: Error | null): void => this.#onWritten(error); // cold: once per connection
    this.out = new Outbox(socket, onWritten);
    (socket as OwnedSocket)[OWNER] = this;
    (socket as ReadSocket)[READER] = this;
    socket.on("data", onData);
    socket.on("drain", onDrain);
    socket.on("end", onEnd);
    socket.on("error", onClose);
    socket.on("close", onClose);
    this.exchange?.onUpstreamReady();
  }

  /** From the read buffer: nothing of it outlives this call. */
  onBytes(bytes: Buffer): void {
    if (this.#takenIn > 0 && cameBefore(this.#takenIn)) {
      // Surplus of the exchange before: as the answer to this one it would go to another client.
      this.fail(Verdict.UpstreamReset);
      return;
    }
    this.#borrowed = true;
    this.onData(bytes);
    this.#borrowed = false;
  }

  onData(chunk: Buffer): void {
    this.#read(chunk);
    this.exchange?.flushResponse();
  }

  #read(chunk: Buffer): void {
    if (this.exchange === null) {
      this.destroy();
      return;
    }
    const bytes = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk]);
    this.#buffer = EMPTY;
    let at = 0;
    while (!this.#inBody) {
      const verdict = this.head.parse(bytes, this.exchange.request.method);
      if (verdict === Verdict.NeedMore) {
        this.#buffer = this.#borrowed && bytes === chunk ? Buffer.from(bytes) : bytes;
        return;
      }
      if (verdict !== Verdict.Ok) {
        this.fail(verdict);
        return;
      }
      at = this.head.end;
      if (this.head.status === 101) {
        const exchange = this.exchange;
        if (exchange.upgrade === "" || !equalsIgnoreCase(this.head.upgrade, exchange.upgrade.toLowerCase())) {
          this.fail(Verdict.BadResponse);
          return;
        }
        exchange.onUpgraded(this, Buffer.from(bytes.subarray(at)));
        return;
      }
      if (this.head.status < 200) {
        if (++this.#informational > MAX_INFORMATIONAL) {
          this.fail(Verdict.BadResponse);
          return;
        }
        this.exchange.onInformational(this.head);
        this.head.reset(at);
        continue;
      }
      this.#inBody = true;
      this.body.begin(this.head.length);
      if (!this.exchange.onResponseHead(this.head)) return;
    }
    this.#readBody(bytes, at);
  }

  #readBody(bytes: Buffer, from: number): void {
    let at = from;
    while (at < bytes.length && !this.body.done) {
      at = this.body.next(bytes, at);
      if (this.body.verdict !== Verdict.Ok) {
        this.fail(Verdict.BadResponse);
        return;
      }
      if (this.body.dataEnd > this.body.dataStart) {
        const piece = bytes.subarray(this.body.dataStart, this.body.dataEnd);
        this.exchange?.onResponseData(piece, this.#borrowed);
        if (this.exchange === null) return;
      }
    }
    if (this.body.done) this.#finish(at < bytes.length);
    else if (this.#borrowed && this.head.bytes === bytes) this.head.keep();
  }

  /**
   * A host that has answered and closed resets what is still sent to it. Node destroys a socket that cannot be written, and
   * with it the answer that was not read yet: here is the last moment for it.
   */
  #onWritten(error: Error | null | undefined): void {
    if (error == null || this.exchange === null) return;
    const fd = (this.socket as { _handle?: { fd?: number } | null } | null)?._handle?.fd ?? -1;
    if (fd < 0 || this.socket instanceof TLSSocket) return;
    const bytes = Buffer.allocUnsafe(LAST_READ_BYTES);
    for (let reads = 0; reads < MAX_LAST_READS && this.exchange !== null; reads++) {
      let length = 0;
      try {
        length = readSync(fd, bytes);
      } catch {
        return;
      }
      if (length === 0) {
        this.onEnd();
        return;
      }
      this.onData(Buffer.from(bytes.subarray(0, length)));
    }
  }

  #finish(surplus: boolean): void {
    const exchange = this.exchange!;
    const seconds = this.head.keepAliveSeconds;
    // Half of a short time, all but a second of a longer one: what is sent must arrive before it is over.
    this.keepMs = seconds === 0 ? 0 : seconds * 1000 - Math.min(1000, seconds * 500);
    const { maxRequests } = this.pool.options;
    const reusable =
      !surplus &&
      this.head.reusable &&
      exchange.requestSent &&
      exchange.upgrade === "" &&
      (maxRequests === 0 || this.#served < maxRequests);
    this.release(reusable);
    exchange.onResponseEnd();
  }

  /** Ends the bond with the exchange; a connection with anything in doubt is destroyed. */
  release(reusable: boolean): void {
    this.exchange = null;
    this.used = true;
    if (reusable && !this.closed) {
      this.socket!.resume();
      this.pool.give(this);
    } else this.destroy();
  }

  /** A host that has read everything closes with FIN; RST says that something was left unread. */
  onClose(error: unknown): void {
    if (this.exchange !== null && this.used && error instanceof Error) this.unread = true;
    this.fail(Verdict.UpstreamReset);
  }

  fail(verdict: Verdict): void {
    const exchange = this.exchange;
    this.exchange = null;
    this.destroy();
    exchange?.onUpstreamFailure(verdict);
  }

  onEnd(): void {
    if (this.exchange !== null && this.#inBody && this.body.untilClose) {
      this.#finish(false);
      return;
    }
    if (this.exchange !== null && this.used) this.unread = closedBeforeWrite(this.socket!);
    this.fail(Verdict.UpstreamReset);
  }

  destroy(): void {
    if (this.closed) return;
    this.closed = true;
    this.pool.forget(this);
    this.socket?.destroy();
  }

  /** Hands the socket over to a tunnel: the codec listens no more, and the socket is never pooled. */
  detach(): void {
    this.exchange = null;
    this.closed = true;
    this.pool.forget(this);
    const socket = this.socket!;
    (socket as ReadSocket)[READER] = null;
    socket.off("data", onData);
    socket.off("drain", onDrain);
    socket.off("end", onEnd);
  }
}

function onData(this: Socket, chunk: Buffer): void {
  (this as OwnedSocket)[OWNER].onData(chunk);
}
function onDrain(this: Socket): void {
  (this as OwnedSocket)[OWNER].exchange?.resumeDownstream();
}
function onEnd(this: Socket): void {
  (this as OwnedSocket)[OWNER].onEnd();
}
function onClose(this: Socket, error: unknown): void {
  (this as OwnedSocket)[OWNER].onClose(error);
}
/** The events of this turn are known already: only after the next look at all sockets is it certain. */
function afterNextRead(connection: UpstreamConnection, exchange: Exchange): void {
  setImmediate(lookedAt, connection, exchange);
}
function lookedAt(connection: UpstreamConnection, exchange: Exchange): void {
  connection.onLookedAt(exchange);
}
function ignore(): void {}
