import type { Accepted } from "../inbound.ts";
import type {
  AccessLog,
  Cluster,
  ConnectionFacts,
  Host,
  Listener,
  Snapshot,
  TcpConfig,
} from "../snapshot.ts";
import type { TcpProxy } from "../tcp/proxy.ts";
import type { TcpEnd, TcpObserver } from "../tcp/terminal.ts";
import type { TcpSeries } from "./istio-metrics.ts";
import type { LogSinks } from "./log-sinks.ts";
import { writeLogs } from "./observer.ts";
import { type LogPlan, logPlans } from "./plan.ts";
import { RequestRecord } from "./record.ts";
import type { RequestMetrics } from "./request-metrics.ts";

/** istio_tcp_* and access log of TCP connections. */
export class TcpTelemetry {
  readonly #metrics: RequestMetrics;
  readonly #sinks: LogSinks;
  readonly #open = new Set<Connection>();
  readonly #logs = new WeakMap<readonly AccessLog[], LogPlan[]>();

  constructor(metrics: RequestMetrics, sinks: LogSinks) {
    this.#metrics = metrics;
    this.#sinks = sinks;
  }

  begin(accepted: Accepted, config: TcpConfig, snapshot: Snapshot): TcpObserver {
    const startMs = Date.now();
    const startedAt = performance.now();
    let connection: Connection | null = null;
    return {
      onOpen: (cluster: Cluster, host: Host, proxy: TcpProxy) => {
        connection = new Connection(this.#metrics.tcp(accepted, cluster, host, "-"), proxy);
        connection.series.opened.inc();
        this.#open.add(connection);
      },
      onEnd: (end: TcpEnd) => {
        if (connection === null) {
          const cluster = snapshot.clusters.get(end.cluster) ?? null;
          const series = this.#metrics.tcp(accepted, cluster, end.host, end.flag);
          series.opened.inc();
          series.closed.inc();
        } else {
          connection.collect();
          connection.series.closed.inc();
          this.#open.delete(connection);
        }
        const logs = this.#logsOf(config.accessLog);
        if (logs.length === 0) return;
        const record = new RequestRecord(null, accepted.facts, startMs);
        record.durationMs = performance.now() - startedAt;
        record.cluster = end.cluster;
        record.host = end.host;
        record.flag = end.flag;
        record.failure = end.message;
        record.termination = end.termination;
        record.bytesReceived = end.result?.receivedBytes ?? 0;
        record.bytesSent = end.result?.sentBytes ?? 0;
        writeLogs(logs, record, null);
      },
    };
  }

  /** A connection that a network filter of its chain closed. */
  denied({ chain, facts }: Accepted, termination: string): void {
    if (chain.terminal.kind !== "tcp") return;
    const record = new RequestRecord(null, facts, Date.now());
    record.cluster = chain.terminal.clusters.length === 1 ? chain.terminal.clusters[0]!.name : "";
    record.termination = termination;
    writeLogs(this.#logsOf(chain.terminal.accessLog), record, null);
  }

  /** Before a scrape: a connection that stays open for days counts as it goes. */
  collect(): void {
    for (const connection of this.#open) connection.collect();
  }

  /** A connection that no chain of its listener takes: only the listener's log tells. */
  unmatched(listener: Listener, facts: ConnectionFacts): void {
    const record = new RequestRecord(null, facts, Date.now());
    record.flag = "NR";
    record.detail = "filter_chain_not_found";
    writeLogs(this.#logsOf(listener.accessLog), record, null);
  }

  #logsOf(configured: readonly AccessLog[]): LogPlan[] {
    let logs = this.#logs.get(configured);
    if (logs === undefined) {
      logs = logPlans(configured, this.#sinks, []);
      this.#logs.set(configured, logs);
    }
    return logs;
  }
}

class Connection {
  readonly series: TcpSeries;
  readonly #proxy: TcpProxy;
  #sent = 0;
  #received = 0;

  constructor(series: TcpSeries, proxy: TcpProxy) {
    this.series = series;
    this.#proxy = proxy;
  }

  collect(): void {
    const { sentBytes, receivedBytes } = this.#proxy;
    this.series.receivedBytes.add(receivedBytes - this.#received);
    this.series.sentBytes.add(sentBytes - this.#sent);
    this.#sent = sentBytes;
    this.#received = receivedBytes;
  }
}
