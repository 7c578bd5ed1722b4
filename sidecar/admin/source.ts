/** The admin pages of a running proxy. */
import type { LogLevel } from "#lib/log.ts";
import type { Bootstrap } from "../bootstrap.ts";
import type { ConfigArchive } from "../config/archive.ts";
import type { Snapshot } from "../snapshot.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";
import type { TlsSecret } from "../tls/secrets.ts";
import { certsAnswer, clustersAnswer, listenersAnswer } from "./pages.ts";
import type { AdminSource } from "./server.ts";
import type { ProcessState, ProcessStats } from "./stats.ts";

export interface Running {
  readonly bootstrap: Bootstrap;
  readonly version: string;
  readonly archive: ConfigArchive;
  readonly registry: MetricRegistry;
  readonly stats: ProcessStats;
  snapshot(): Snapshot;
  secret(): (TlsSecret & { readonly notBefore: number }) | null;
  state(): ProcessState;
  /** Counts that are gathered only when somebody asks. */
  collect(): void;
  setLogLevel(level: LogLevel): void;
  drain(): void;
}

export function adminSource(running: Running): AdminSource {
  const { bootstrap, version, archive, registry, stats } = running;
  const { node, drainSeconds } = bootstrap;
  let level = bootstrap.logLevel;
  return {
    ready: () => running.state().ready,
    serverInfo: () => {
      const { ready, draining } = running.state();
      const uptime = `${Math.floor(process.uptime())}s`;
      return {
        version: `weft/${version}/node-${process.versions.node}`,
        state: draining ? "DRAINING" : ready ? "LIVE" : "PRE_INITIALIZING",
        uptime_current_epoch: uptime,
        uptime_all_epochs: uptime,
        hot_restart_version: "disabled",
        command_line_options: {
          concurrency: 1,
          drain_time: `${drainSeconds}s`,
          log_level: level,
          mode: "Serve",
        },
        node: { id: node.id, cluster: node.cluster, metadata: node.metadata },
      };
    },
    configDump: async (query) => {
      // Every message type of the configuration: a proxy that nobody looks into need not hold them.
      const { configDump } = await import("../config/dump.ts");
      const regex = query.get("name_regex");
      const name = regex === null ? null : new RegExp(regex);
      return configDump(
        { bootstrap, version, archive, secret: running.secret(), startedMs: performance.timeOrigin },
        {
          includeEds: query.has("include_eds") && query.get("include_eds") !== "off",
          resource: query.get("resource"),
          name: name === null ? null : (text) => name.test(text),
        },
      );
    },
    clusters: () => clustersAnswer(running.snapshot(), performance.now()),
    listeners: () => listenersAnswer(running.snapshot()),
    certs: () => certsAnswer(running.secret(), Date.now()),
    stats: function* () {
      running.collect();
      yield* stats.envoy(running.state(), running.snapshot());
      stats.collect(running.state());
      yield* registry.values();
    },
    prometheus: () => {
      running.collect();
      stats.collect(running.state());
      return registry.text();
    },
    setLogLevel: (next) => {
      level = next;
      running.setLogLevel(next);
    },
    drain: () => running.drain(),
  };
}
