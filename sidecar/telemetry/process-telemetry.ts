/** All telemetry of one proxy, put together. */
import type { Logger } from "#lib/log.ts";
import type { Bootstrap } from "../bootstrap.ts";
import type { Snapshot } from "../snapshot.ts";
import type { TlsSecret } from "../tls/secrets.ts";
import { connectCollector } from "./collector.ts";
import { LogSinks } from "./log-sinks.ts";
import { MetricRegistry } from "./metrics.ts";
import { Telemetry } from "./observer.ts";
import { peerOfNode } from "./peer.ts";
import { RequestMetrics } from "./request-metrics.ts";
import { SpanExport } from "./span-export.ts";
import { TcpTelemetry } from "./tcp-telemetry.ts";

const CLOSE_MS = 1500;

export interface TelemetryOptions {
  readonly node: Bootstrap["node"];
  readonly trustDomain: string;
  /** Our own SPIFFE id, or "". */
  readonly identity: () => string;
  readonly snapshot: () => Snapshot;
  readonly secret: () => TlsSecret | null;
  readonly log: Logger;
}

/** For the last lines of the access log, when the process ends. */
const LAST_LINES_MS = 500;

export class ProcessTelemetry {
  readonly registry = new MetricRegistry();
  readonly http: Telemetry;
  readonly tcp: TcpTelemetry;
  readonly #spans: SpanExport;
  readonly #sinks: LogSinks;

  constructor(options: TelemetryOptions) {
    const { node, log, snapshot, secret, trustDomain } = options;
    this.#sinks = new LogSinks((path, error) =>
      log.error("access log lines are lost", { path, reason: error.message }),
    );
    this.#spans = new SpanExport({
      nodeId: node.id,
      zone: node.locality.zone ?? "",
      connect: (cluster) => connectCollector(snapshot().clusters.get(cluster), secret(), trustDomain),
      log,
    });
    const metrics = new RequestMetrics(this.registry, peerOfNode(node.metadata), options.identity, snapshot);
    this.http = new Telemetry(metrics, this.#spans.buffer, this.#sinks);
    this.tcp = new TcpTelemetry(metrics, this.#sinks);
  }

  /** Before a scrape. */
  collect(): void {
    this.tcp.collect();
  }

  get spansExported(): number {
    return this.#spans.exported;
  }
  get spansLost(): number {
    return this.#spans.failed + this.#spans.buffer.dropped;
  }
  get logLinesLost(): number {
    return this.#sinks.dropped;
  }

  /** What is held goes out, if the collector takes it now: a proxy that ends does not wait for one that is gone. */
  async close(): Promise<void> {
    await this.#sinks.close(LAST_LINES_MS);
    const limit = Promise.withResolvers<void>();
    const timer = setTimeout(limit.resolve, CLOSE_MS);
    await Promise.race([this.#spans.flush(), limit.promise]);
    clearTimeout(timer);
  }
}
