/** The process's own numbers: Envoy's names for /stats (pilot-agent and dashboards ask for those), ours for Prometheus. */
import { isHealthy } from "../cluster/balancer.ts";
import type { Snapshot } from "../snapshot.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";

/** What is read when a page is asked for. */
export interface ProcessState {
  readonly ready: boolean;
  readonly draining: boolean;
  readonly xdsConnected: boolean;
  readonly connections: number;
  /** ms since the epoch, or null without a certificate. */
  readonly certificateExpiresMs: number | null;
  readonly spansExported: number;
  readonly spansLost: number;
  readonly logLinesLost: number;
}

const SHORT = new Map([
  ["envoy.config.cluster.v3.Cluster", "cds"],
  ["envoy.config.endpoint.v3.ClusterLoadAssignment", "eds"],
  ["envoy.config.listener.v3.Listener", "lds"],
  ["envoy.config.route.v3.RouteConfiguration", "rds"],
]);

/** One event loop serves all connections. */
const WORKERS = 1;

export class ProcessStats {
  readonly #registry: MetricRegistry;
  readonly #updates = new Map<string, { success: number; rejected: number }>();
  /** Streams that could not be opened, or broke. */
  #failures = 0;

  constructor(registry: MetricRegistry) {
    this.#registry = registry;
    for (const type of SHORT.values()) this.#updates.set(type, { success: 0, rejected: 0 });
  }

  /** A response of the control plane was taken whole, or refused in part. */
  update(typeUrl: string, refused: boolean): void {
    const type = SHORT.get(typeUrl.slice(typeUrl.indexOf("/") + 1)) ?? "other";
    const counts = this.#updates.get(type);
    if (counts === undefined) return;
    counts[refused ? "rejected" : "success"]++;
    this.#registry
      .counter("weft_xds_updates_total", "Responses of the control plane, by what became of them.", [
        ["type", type],
        ["result", refused ? "rejected" : "accepted"],
      ])
      .inc();
  }

  unreachable(): void {
    this.#failures++;
  }

  connected(): void {
    this.#registry
      .counter("weft_xds_connects_total", "Streams to the control plane that were opened.", [])
      .inc();
  }

  /** A connection that met no listener, chain or permission, or whose handshake failed. */
  refused(reason: string): void {
    this.#registry
      .counter("weft_connections_refused_total", "Connections closed before they were served.", [
        ["reason", reason],
      ])
      .inc();
  }

  *envoy(state: ProcessState, snapshot: Snapshot): Iterable<readonly [string, number]> {
    const updates = (type: string, prefix: string): [string, number][] => {
      const { success, rejected } = this.#updates.get(type)!;
      return [
        [`${prefix}.update_attempt`, success + rejected + this.#failures],
        [`${prefix}.update_failure`, this.#failures],
        [`${prefix}.update_rejected`, rejected],
        [`${prefix}.update_success`, success],
      ];
    };
    yield* updates("cds", "cluster_manager.cds");
    yield* updates("lds", "listener_manager.lds");
    yield ["cluster_manager.active_clusters", snapshot.clusters.size];
    yield ["listener_manager.total_listeners_active", snapshot.listeners.size];
    yield ["listener_manager.workers_started", state.ready || state.draining ? 1 : 0];
    yield ["control_plane.connected_state", state.xdsConnected ? 1 : 0];
    // LIVE 0, DRAINING 1, PRE_INITIALIZING 2 (admin.v3.ServerInfo.State).
    yield ["server.state", state.draining ? 1 : state.ready ? 0 : 2];
    yield ["server.live", state.ready ? 1 : 0];
    yield ["server.uptime", Math.floor(process.uptime())];
    yield ["server.concurrency", WORKERS];
    yield ["server.total_connections", state.connections];
    const memory = process.memoryUsage();
    yield ["server.memory_allocated", memory.heapUsed + memory.external];
    yield ["server.memory_heap_size", memory.heapTotal];
    yield ["server.memory_physical_size", memory.rss];
    if (state.certificateExpiresMs !== null)
      yield [
        "server.days_until_first_cert_expiring",
        Math.max(0, Math.floor((state.certificateExpiresMs - Date.now()) / 86_400_000)),
      ];
    const nowMs = performance.now();
    for (const { name, hosts } of snapshot.clusters.values()) {
      const sum = (of: (host: (typeof hosts)[number]) => number) =>
        hosts.reduce((n, host) => n + of(host), 0);
      yield [`cluster.${name};.membership_total`, hosts.length];
      yield [`cluster.${name};.membership_healthy`, sum((h) => (isHealthy(h, nowMs) ? 1 : 0))];
      yield [`cluster.${name};.upstream_rq_active`, sum((h) => h.activeRequests)];
    }
  }

  /** What stands now, into the registry before it is written. */
  collect(state: ProcessState): void {
    const memory = process.memoryUsage();
    const cpu = process.cpuUsage();
    const gauge = (name: string, help: string, value: number): void =>
      this.#registry.gauge(name, help, []).set(value);
    const counter = (name: string, help: string, value: number): void => {
      this.#registry.counter(name, help, []).value = value;
    };
    gauge("process_start_time_seconds", "Start, in seconds since the epoch.", performance.timeOrigin / 1000);
    gauge("process_resident_memory_bytes", "Resident memory.", memory.rss);
    counter("process_cpu_seconds_total", "CPU time used, user and system.", (cpu.user + cpu.system) / 1e6);
    gauge("nodejs_heap_size_used_bytes", "JavaScript heap in use.", memory.heapUsed);
    gauge("weft_uptime_seconds", "Time since the start.", process.uptime());
    gauge(
      "weft_ready",
      "1 while the proxy has certificate and listeners and does not drain.",
      state.ready ? 1 : 0,
    );
    gauge(
      "weft_xds_connected",
      "1 while the stream to the control plane stands.",
      state.xdsConnected ? 1 : 0,
    );
    gauge("weft_connections", "Downstream connections now open.", state.connections);
    counter("weft_spans_exported_total", "Spans that a collector took.", state.spansExported);
    counter("weft_spans_lost_total", "Spans overwritten or not taken.", state.spansLost);
    counter(
      "weft_access_log_lines_lost_total",
      "Lines dropped because their file or pipe was slow, or took none.",
      state.logLinesLost,
    );
    if (state.certificateExpiresMs !== null)
      gauge(
        "weft_certificate_expiry_seconds",
        "End of the certificate, in seconds since the epoch.",
        state.certificateExpiresMs / 1000,
      );
  }
}
