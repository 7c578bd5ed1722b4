import { expect, test } from "vitest";
import type { Snapshot } from "../snapshot.ts";
import { MetricRegistry } from "../telemetry/metrics.ts";
import { type ProcessState, ProcessStats } from "./stats.ts";

const STATE: ProcessState = {
  ready: true,
  draining: false,
  xdsConnected: true,
  connections: 3,
  certificateExpiresMs: Date.now() + 25 * 3_600_000,
  spansExported: 7,
  spansLost: 1,
  logLinesLost: 0,
};
const hosts = [
  { health: "HEALTHY", activeRequests: 2, ejectedUntilMs: 0 },
  { health: "UNHEALTHY", activeRequests: 1, ejectedUntilMs: 0 },
];
const SNAPSHOT = {
  clusters: new Map([["c", { name: "c", hosts }]]),
  listeners: new Map([["l", {}]]),
} as unknown as Snapshot;
const LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener";

test("Envoy's names for what pilot-agent asks: updates, refusals, state through a life", () => {
  const stats = new ProcessStats(new MetricRegistry());
  const now = (state: Partial<ProcessState> = {}) =>
    Object.fromEntries(stats.envoy({ ...STATE, ...state }, SNAPSHOT));
  expect(now({ ready: false })).toMatchObject({
    "listener_manager.lds.update_success": 0,
    "listener_manager.workers_started": 0,
    "server.state": 2,
    "server.live": 0,
  });
  stats.update(LISTENER, false);
  stats.update(LISTENER, true);
  stats.update("type.googleapis.com/envoy.config.cluster.v3.Cluster", false);
  expect(now()).toMatchObject({
    "cluster_manager.cds.update_success": 1,
    "listener_manager.lds.update_success": 1,
    "listener_manager.lds.update_rejected": 1,
    "listener_manager.lds.update_attempt": 2,
    "listener_manager.workers_started": 1,
    "server.state": 0,
    "server.days_until_first_cert_expiring": 1,
    "control_plane.connected_state": 1,
    "cluster.c;.membership_total": 2,
    "cluster.c;.membership_healthy": 1,
    "cluster.c;.upstream_rq_active": 3,
  });
  expect(now({ ready: false, draining: true })["server.state"]).toBe(1);
});

test("Prometheus: connections to the control plane, its responses, refused connections", () => {
  const registry = new MetricRegistry();
  const stats = new ProcessStats(registry);
  stats.connected();
  stats.update(LISTENER, true);
  stats.refused("filter_chain_not_found");
  stats.refused("filter_chain_not_found");
  stats.collect(STATE);
  stats.collect(STATE);
  expect(Object.fromEntries(registry.values())).toMatchObject({
    weft_xds_connects_total: 1,
    'weft_xds_updates_total{type="lds",result="rejected"}': 1,
    'weft_connections_refused_total{reason="filter_chain_not_found"}': 2,
    weft_spans_exported_total: 7,
    weft_connections: 3,
    weft_ready: 1,
  });
});
