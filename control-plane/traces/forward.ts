import { request } from "undici";
import type { Logger } from "#lib/log.ts";

/** An export as it came in. */
export interface RawExport {
  readonly body: Buffer;
  readonly contentType: string;
}

const TIMEOUT_MS = 5000;
/** Held while the collector is slow; what comes on top is lost there, and kept in the store here. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;

/** Passes exports on to another OTLP/HTTP receiver (a collector, Jaeger ...), in order, one at a time. */
export class Forwarder {
  readonly #url: string;
  readonly #log: Logger;
  readonly #waiting: RawExport[] = [];
  #bytes = 0;
  #running = false;
  #lastProblem = "";

  /** `endpoint` as OTEL_EXPORTER_OTLP_ENDPOINT has it: a base, to which /v1/traces is added. */
  constructor(endpoint: string, log: Logger) {
    this.#url = `${endpoint.replace(/\/+$/, "")}/v1/traces`;
    this.#log = log;
  }

  push(one: RawExport): void {
    if (this.#bytes + one.body.length > MAX_WAITING_BYTES) {
      this.#problem("it is too slow");
      return;
    }
    this.#bytes += one.body.length;
    this.#waiting.push(one);
    if (!this.#running) void this.#send();
  }

  async #send(): Promise<void> {
    this.#running = true;
    for (let one = this.#waiting.shift(); one !== undefined; one = this.#waiting.shift()) {
      this.#bytes -= one.body.length;
      try {
        const response = await request(this.#url, {
          method: "POST",
          headers: { "content-type": one.contentType },
          body: one.body,
          headersTimeout: TIMEOUT_MS,
          bodyTimeout: TIMEOUT_MS,
        });
        await response.body.dump();
        if (response.statusCode >= 300) this.#problem(`it answered ${response.statusCode}`);
        else this.#lastProblem = "";
      } catch (error) {
        this.#problem((error as Error).message);
      }
    }
    this.#running = false;
  }

  /** Said once, until something else goes wrong. */
  #problem(reason: string): void {
    if (reason !== this.#lastProblem)
      this.#log.warn("spans do not reach the collector", { url: this.#url, reason });
    this.#lastProblem = reason;
  }
}
