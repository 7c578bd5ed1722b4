/** Reading a log that others write: its last lines, and what comes, also past a rotation. */
import { closeSync, existsSync, fstatSync, openSync, readSync, statSync, watch } from "node:fs";
import { basename, dirname } from "node:path";
import { StringDecoder } from "node:string_decoder";

const CHUNK = 64 * 1024;
const NEWLINE = 10;

/** Where the last `count` lines begin, in bytes; a last line without an end counts. */
function startOfLast(fd: number, count: number): number {
  const { size } = fstatSync(fd);
  if (count === 0) return size;
  const bytes = Buffer.alloc(CHUNK);
  let left = count;
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - CHUNK);
    const read = readSync(fd, bytes, 0, end - start, start);
    for (let i = read - 1; i >= 0; i--) {
      const lastByte = start + i === size - 1;
      if (bytes[i] === NEWLINE && !lastByte && --left === 0) return start + i + 1;
    }
    end = start;
  }
  return 0;
}

/** A log by its path. Rotation renames the file and begins another, or copies and truncates it: both are followed. */
export class LogReader {
  readonly #file: string;
  readonly #write: (text: string) => void;
  #fd: number;
  #offset: number;
  #decoder = new StringDecoder("utf8");
  /** What has no end of line yet. */
  #rest = "";

  /** `last`: from that many lines before the end; null: from the beginning. Throws when it cannot be opened. */
  constructor(file: string, last: number | null, write: (text: string) => void) {
    this.#file = file;
    this.#write = write;
    this.#fd = openSync(file, "r");
    this.#offset = last === null ? 0 : startOfLast(this.#fd, last);
  }

  /** Writes what is there, in whole lines; `end`: also a last one that is not. */
  read(end: boolean): void {
    this.#drain();
    for (;;) {
      const now = statSync(this.#file, { throwIfNoEntry: false });
      if (now === undefined || now.ino === fstatSync(this.#fd).ino) break;
      // The old one first: what was written between the last look and the rotation.
      this.#drain();
      this.#flush();
      closeSync(this.#fd);
      this.#fd = openSync(this.#file, "r");
      this.#offset = 0;
      this.#drain();
    }
    if (end) this.#flush();
  }

  #drain(): void {
    if (fstatSync(this.#fd).size < this.#offset) {
      this.#flush();
      this.#offset = 0;
    }
    const bytes = Buffer.alloc(CHUNK);
    for (let n = -1; n !== 0; ) {
      n = readSync(this.#fd, bytes, 0, CHUNK, this.#offset);
      this.#offset += n;
      const text = this.#rest + this.#decoder.write(bytes.subarray(0, n));
      const whole = text.lastIndexOf("\n") + 1;
      this.#rest = text.slice(whole);
      if (whole > 0) this.#write(text.slice(0, whole));
    }
  }

  #flush(): void {
    const text = this.#rest + this.#decoder.end();
    this.#rest = "";
    if (text !== "") this.#write(`${text}\n`);
  }

  /** Goes on until the signal. */
  async follow(stop: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    // The folder: a log that is begun anew is another file.
    const watcher = watch(dirname(this.#file), (_event, name) => {
      if ((name === null || name === basename(this.#file)) && existsSync(this.#file)) this.read(false);
    });
    stop.addEventListener("abort", () => resolve());
    if (stop.aborted) resolve();
    this.read(false); // what came before the watch
    await promise;
    watcher.close();
  }

  close(): void {
    closeSync(this.#fd);
  }
}
