/** Takes finished spans off the ring and sends them with the OpenTelemetry exporter, through the collector's cluster. */
import type { Duplex } from "node:stream";
import type { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { type Clock, systemClock } from "#lib/clock.ts";
import type { Logger } from "#lib/log.ts";
import type { RequestRecord } from "./record.ts";
import { SpanBuffer } from "./spans.ts";

export interface SpanExportOptions {
  readonly nodeId: string;
  readonly zone: string;
  /** A connection to a host of the cluster, as the cluster says (mTLS, source address ...). */
  readonly connect: (cluster: string) => Promise<Duplex>;
  readonly log: Logger;
  readonly clock?: Clock;
}

// Not by import: see sidecar/admin/server.ts.
const { Agent } = process.getBuiltinModule("node:http");
const FLUSH_MS = 500; // as Envoy is told to (envoy-bootstrap.ts); `weft trace` waits for it
const EXPORT_TIMEOUT_MS = 5000;

export class SpanExport {
  readonly buffer: SpanBuffer;
  exported = 0;
  /** Lost because the collector did not take them. */
  failed = 0;
  readonly #options: SpanExportOptions;
  readonly #clock: Clock;
  readonly #exporters = new Map<string, OTLPTraceExporter>();
  #cancel: (() => void) | null = null;
  #running: Promise<void> | null = null;
  #lastError = "";

  constructor(options: SpanExportOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.buffer = new SpanBuffer(() => this.#wake());
  }

  #wake(): void {
    if (this.buffer.halfFull) void this.flush();
    else this.#cancel ??= this.#clock.after(FLUSH_MS, () => void this.flush());
  }

  /** Sends everything held; one flush at a time. */
  flush(): Promise<void> {
    this.#cancel?.();
    this.#cancel = null;
    this.#running ??= this.#send().finally(() => {
      this.#running = null;
      // What came while the last batch was on its way.
      if (this.buffer.size > 0) this.#wake();
    });
    return this.#running;
  }

  async #send(): Promise<void> {
    for (let batch = this.buffer.take(); batch.length > 0; batch = this.buffer.take()) {
      const groups = Map.groupBy(
        batch,
        ({ plan }) => `${plan!.tracing!.otlpCluster}|${plan!.tracing!.otlpUrl}`,
      );
      for (const [key, records] of groups) await this.#export(key, records);
    }
  }

  async #export(key: string, records: readonly RequestRecord[]): Promise<void> {
    const error = await this.#attempt(key, records).catch((problem: Error) => problem);
    if (error === null) {
      this.exported += records.length;
      this.#lastError = "";
      return;
    }
    this.failed += records.length;
    if (error.message !== this.#lastError)
      this.#options.log.warn("spans are lost: the collector does not take them", { reason: error.message });
    this.#lastError = error.message;
  }

  async #attempt(key: string, records: readonly RequestRecord[]): Promise<Error | null> {
    const { otlpCluster, otlpUrl } = records[0]!.plan!.tracing!;
    const { nodeId, zone } = this.#options;
    // Loaded with the first span: 60 ms that a start need not wait for.
    const { toReadableSpan } = await import("./span-data.ts");
    let exporter = this.#exporters.get(key);
    if (exporter === undefined) {
      const { OTLPTraceExporter: Exporter } = await import("@opentelemetry/exporter-trace-otlp-proto");
      exporter = new Exporter({
        url: otlpUrl,
        timeoutMillis: EXPORT_TIMEOUT_MS,
        httpAgentOptions: () => new ClusterAgent(() => this.#options.connect(otlpCluster!)),
      });
      this.#exporters.set(key, exporter);
    }
    const spans = records.map((record) => toReadableSpan(record, nodeId, zone));
    return new Promise((resolve) => {
      exporter.export(spans, ({ code, error }) =>
        resolve(code === 0 ? null : (error ?? new Error("the export failed"))),
      );
    });
  }
}

/** Where a URL's host is decided by xDS, not by DNS. */
class ClusterAgent extends Agent {
  readonly #connect: () => Promise<Duplex>;

  constructor(connect: () => Promise<Duplex>) {
    super({ keepAlive: true, maxSockets: 2 });
    this.#connect = connect;
  }

  override createConnection(
    _options: unknown,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): undefined {
    this.#connect().then(
      (stream) => callback?.(null, stream),
      (error: Error) => callback?.(error, undefined as never),
    );
  }
}
