import { createWriteStream } from "node:fs";
import type { Writable } from "node:stream";
import type { AccessLog } from "../snapshot.ts";
import { AccessLogBuffer } from "./access-log.ts";

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
      const stream = this.#open(log);
      buffer = new AccessLogBuffer((text, done) => stream.write(text, () => done()));
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

  // A full disk or a closed pipe must not end the proxy: the lines are lost, the traffic goes on.
  #open(log: AccessLog): Writable {
    const stream: Writable =
      log.kind === "stdout"
        ? process.stdout
        : log.kind === "stderr"
          ? process.stderr
          : createWriteStream(log.path, { flags: "a" });
    stream.on("error", (error: Error) => this.#failed(log.path || log.kind, error));
    return stream;
  }
}
