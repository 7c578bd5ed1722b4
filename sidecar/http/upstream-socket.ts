import { Duplex } from "node:stream";

/** A socket handed out before it is open: pools want one at once, connectUpstream answers later. */
export class UpstreamSocket extends Duplex {
  #inner: Duplex | null = null;

  constructor() {
    super({ allowHalfOpen: true });
  }

  /** Emits "connect"; from here on bytes pass both ways. */
  open(inner: Duplex): void {
    if (this.destroyed) {
      inner.on("error", () => {});
      inner.destroy();
      return;
    }
    this.#inner = inner;
    inner.on("data", (piece: Buffer) => {
      if (!this.push(piece)) inner.pause();
    });
    inner.on("end", () => this.push(null));
    inner.on("error", (error) => this.destroy(error));
    inner.on("close", () => {
      // What was read before the close is still owed.
      if (inner.readableEnded && !this.readableEnded) this.once("end", () => this.destroy());
      else this.destroy();
    });
    this.emit("connect");
  }

  override _read(): void {
    this.#inner?.resume();
  }

  override _write(piece: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#inner === null) done(new Error("not connected"));
    else this.#inner.write(piece, done);
  }

  override _writev(pieces: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this._write(Buffer.concat(pieces.map((piece) => piece.chunk)), "latin1", done);
  }

  override _final(done: () => void): void {
    if (this.#inner === null) done();
    else this.#inner.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#inner?.destroy();
    done(error);
  }
}
