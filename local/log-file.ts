import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";

/** As a kubelet's containerLogMaxSize; one older file is kept beside it. */
const LOG_MAX_BYTES = 10 * 1024 * 1024;
/** How often the size is looked at: inotify would wake us for every line that is written. */
const LOOK_MS = 1_000;
const PIECE = 1024 * 1024;

/** A log that a process appends to by itself, kept at `maxBytes` plus what comes in a second; FILE.1 has what was before. */
export class LogFile {
  readonly #path: string;
  readonly #maxBytes: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(path: string, maxBytes = LOG_MAX_BYTES) {
    this.#path = path;
    this.#maxBytes = maxBytes;
  }

  /** A descriptor for the process, to be closed here once it is started; "ignore": without its log a process still runs. */
  open(): number | "ignore" {
    try {
      mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
      return openSync(this.#path, "a", 0o600);
    } catch {
      return "ignore";
    }
  }

  watch(): void {
    this.#timer ??= setInterval(() => this.rotate(), LOOK_MS).unref();
  }

  unwatch(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.rotate();
  }

  /** The last `bytes` of it as text; "" when there is none. */
  tail(bytes: number): string {
    try {
      const fd = openSync(this.#path, "r");
      try {
        const { size } = fstatSync(fd);
        const piece = Buffer.alloc(Math.min(bytes, size));
        return piece.toString("utf8", 0, readSync(fd, piece, 0, piece.length, size - piece.length));
      } finally {
        closeSync(fd);
      }
    } catch {
      return "";
    }
  }

  /**
   * Copies and empties: the process holds the file, so it cannot be renamed away. It appends, so what it writes next is at
   * the beginning. What comes while it is copied is copied, too; only a line within the last microseconds can be lost.
   */
  rotate(): void {
    try {
      const fd = openSync(this.#path, "r+");
      try {
        if (fstatSync(fd).size < this.#maxBytes) return;
        this.#copyAndEmpty(fd);
      } finally {
        closeSync(fd);
      }
    } catch {
      // Gone, or a full disk: tried again.
    }
  }

  #copyAndEmpty(fd: number): void {
    const old = `${this.#path}.1`;
    const out = openSync(`${old}.new`, "w", 0o600);
    const piece = Buffer.alloc(PIECE);
    try {
      // Of a burst only as much as fits is kept, the newest.
      let at = Math.max(0, fstatSync(fd).size - this.#maxBytes);
      for (let read = -1; read !== 0; at += read) {
        read = readSync(fd, piece, 0, PIECE, at);
        writeSync(out, piece, 0, read);
        if (at > 8 * this.#maxBytes) break; // faster than we are
      }
      ftruncateSync(fd);
    } finally {
      closeSync(out);
    }
    renameSync(`${old}.new`, old);
  }
}
