import { openSync, writeSync } from "node:fs";
import type { AccessLog } from "../snapshot.ts";
import { AccessLogBuffer, type Sink } from "./access-log.ts";

/** One buffer per place that lines go to, shared by all listeners that name it. */
export class LogSinks {
  readonly #buffers = new Map<string, AccessLogBuffer>();
  readonly #failed: (path: string, error: Error) => void;

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

  flush(): void {
    for (const buffer of this.#buffers.values()) buffer.flush();
  }

  /**
   * A full disk or a closed pipe must not end the proxy: the lines are lost and counted, the traffic goes on, and what
   * comes later is tried again. Hence no stream: one that failed is closed for good, and its error ends the process
   * where telling of it fails as well (stdout and stderr on one disk).
   */
  #sink(log: AccessLog): Sink {
    let fd = log.kind === "stdout" ? 1 : log.kind === "stderr" ? 2 : -1;
    let working = true;
    return (text, done) => {
      try {
        if (fd === -1) fd = openSync(log.path, "a", 0o644);
        writeSync(fd, text);
        working = true;
        done(false);
      } catch (error) {
        if (working) this.#failed(log.path || log.kind, error as Error);
        working = false;
        done(true);
      }
    };
  }
}
