import { constants, open, write } from "node:fs";
import type { AccessLog } from "../snapshot.ts";
import { AccessLogBuffer, type Sink } from "./access-log.ts";

const { O_APPEND, O_CREAT, O_NONBLOCK, O_WRONLY } = constants;
const APPEND = O_APPEND | O_CREAT | O_WRONLY | O_NONBLOCK;
/** Until a full pipe is tried again. */
const FULL_PIPE_MS = 50;

/** One buffer per place that lines go to, shared by all listeners that name it. */
export class LogSinks {
  readonly #buffers = new Map<string, AccessLogBuffer>();
  readonly #failed: (path: string, error: Error) => void;
  #writing = 0;
  #whenWritten: (() => void) | null = null;

  constructor(failed: (path: string, error: Error) => void) {
    this.#failed = failed;
  }

  of(log: AccessLog): AccessLogBuffer {
    const path = log.kind === "file" ? log.path : log.kind;
    let buffer = this.#buffers.get(path);
    if (buffer === undefined) {
      buffer = new AccessLogBuffer(this.#sink(log));
      this.#buffers.set(path, buffer);
    }
    return buffer;
  }

  get dropped(): number {
    let lines = 0;
    for (const buffer of this.#buffers.values()) lines += buffer.dropped;
    return lines;
  }

  /** What is held is written, for at most so long: a pipe that nobody reads must not keep the process. */
  async close(deadlineMs: number): Promise<void> {
    for (const buffer of this.#buffers.values()) buffer.flush();
    if (this.#writing === 0) return;
    await new Promise<void>((resolve) => {
      this.#whenWritten = resolve;
      setTimeout(resolve, deadlineMs).unref();
    });
  }

  /**
   * A full disk or a closed pipe must not end the proxy: the lines are lost and counted, the traffic goes on, and what
   * comes later is tried again. Hence no stream: one that failed is closed for good, and its error ends the process
   * where telling of it fails as well (stdout and stderr on one disk). A pipe that nobody reads holds a thread of the pool
   * at most, never the traffic; a fifo is opened without waiting for its reader.
   */
  #sink(log: AccessLog): Sink {
    let fd = log.kind === "stdout" ? 1 : log.kind === "stderr" ? 2 : -1;
    let working = true;
    return (text, done) => {
      this.#writing++;
      const end = (error: Error | null): void => {
        if (error !== null && working) this.#failed(log.path || log.kind, error);
        working = error === null;
        this.#writing--;
        done(error !== null); // writes on, if lines have come
        if (this.#writing === 0) this.#whenWritten?.();
      };
      const bytes = Buffer.from(text);
      if (fd !== -1) writeAll(fd, bytes, 0, end);
      else
        open(log.path, APPEND, 0o644, (error, opened) => {
          if (error !== null) return end(error);
          fd = opened;
          writeAll(fd, bytes, 0, end);
        });
    };
  }
}

function writeAll(fd: number, bytes: Buffer, from: number, end: (error: Error | null) => void): void {
  write(fd, bytes, from, bytes.length - from, null, (error, written) => {
    if (error?.code === "EAGAIN") setTimeout(writeAll, FULL_PIPE_MS, fd, bytes, from, end);
    else if (error !== null || from + written === bytes.length) end(error);
    else writeAll(fd, bytes, from + written, end);
  });
}
