// hot path
/**
 * What is about to be written to one socket: heads and small pieces of body are joined, so that they leave in one
 * system call and, under TLS, in one record. Over loopback a write costs about 9 us of the 40 that a request did
 * cost in the proxy (Node 24.21, bench/http1): head and body in one write took a quarter off.
 */
import { writeLent } from "./lent-buffers.ts";
import type { Socket } from "./pool.ts";

/** Node writes strings up to 16 KiB from its stack (StreamBase::WriteString); above, and for larger pieces, it copies. */
const MAX_JOINED_BYTES = 16 * 1024;
/** Larger pieces are written as they are. */
const MAX_JOINED_PIECE_BYTES = 4 * 1024;

export type WriteCallback = (error?: Error | null) => void;

export class Outbox {
  readonly socket: Socket;
  readonly #written: WriteCallback | undefined;
  /** Latin-1, one character a byte. */
  #text = "";

  /** @param written called after each write; with an error before the socket is destroyed for it */
  constructor(socket: Socket, written?: WriteCallback) {
    this.socket = socket;
    this.#written = written;
  }

  /** Waits for `flush`: whoever adds sees to it that one follows in the same turn. */
  add(text: string): void {
    this.#text += text;
  }

  /** False: the socket is behind, add no more until it drains. `borrowed`: the bytes are overwritten after this. */
  addBytes(piece: Buffer, borrowed: boolean): boolean {
    if (piece.length <= MAX_JOINED_PIECE_BYTES) {
      this.#text += piece.toString("latin1");
      return this.#text.length < MAX_JOINED_BYTES || this.flush();
    }
    const { socket } = this;
    const joins = this.#text !== "";
    if (joins) {
      socket.cork();
      this.flush();
    }
    const more = borrowed ? writeLent(socket, piece, this.#written) : socket.write(piece, this.#written);
    if (joins) socket.uncork();
    return more;
  }

  flush(): boolean {
    if (this.#text === "") return true;
    const text = this.#text;
    this.#text = "";
    return this.socket.write(text, "latin1", this.#written);
  }
}
