/** The Weft sidecar: `node sidecar/main.ts --config FILE`. Wires certificates, xDS, data plane and admin together. */

import { parseArgs } from "node:util";
import { create, type JsonObject } from "@bufbuild/protobuf";
import { SecretManager } from "#certs/workload/index.ts";
import { Backoff } from "#lib/backoff.ts";
import { createLogger } from "#lib/log.ts";
import { refuseInspector } from "#lib/no-inspector.ts";
import { XdsConnection } from "#xds/client/connection.ts";
import { NodeSchema } from "#xds/gen/envoy/config/core/v3/base_pb.js";
import { DeltaClientState, TYPE } from "#xds/index.ts";
import { serveAdmin, servePrometheus, serveStatus } from "./admin/server.ts";
import { adminSource } from "./admin/source.ts";
import { ProcessStats } from "./admin/stats.ts";
import { RECONNECT_MS, readBootstrap } from "./bootstrap.ts";
import { ConfigArchive } from "./config/archive.ts";
import { ConfigStore } from "./config/store.ts";
import { createCaClient } from "./control-plane/ca-client.ts";
import { connectionOptions } from "./http/connection-options.ts";
import { HttpHandler } from "./http/handler.ts";
import { Pools } from "./http/pools.ts";
import { RetryBudget } from "./http/retry.ts";
import { DownstreamConnection } from "./http1/downstream.ts";
import { UndetectedPorts } from "./listen/undetected.ts";
import { DataPlane } from "./proxy.ts";
import { TcpConnections } from "./tcp/connections.ts";
import { serveTcp } from "./tcp/terminal.ts";
import { ProcessTelemetry } from "./telemetry/process-telemetry.ts";

const VERSION = "0.1.0";
/** So many warnings of one update are logged one by one. */
const MOST_WARNINGS = 100;
refuseInspector();
const { values } = parseArgs({ options: { config: { type: "string" } } });
if (values.config === undefined) {
  console.error("usage: sidecar/main.ts --config FILE");
  process.exit(2);
}
const config = readBootstrap(values.config);
const { trustDomain, discovery } = config;
const log = createLogger("sidecar", config.logLevel);
const ca = createCaClient(discovery);
const secrets = new SecretManager({ sign: ca.sign, trustDomain, log: log.child("certs") });
const secret = () => secrets.current ?? null;
const identity = () => secrets.current?.spiffeId ?? "";
const store = new ConfigStore();
const archive = new ConfigArchive();
const telemetry = new ProcessTelemetry({
  node: config.node,
  trustDomain,
  identity,
  snapshot: () => store.current,
  secret,
  log: log.child("telemetry"),
});
const stats = new ProcessStats(telemetry.registry);
let xdsConnected = false;
const shared = {
  snapshot: () => plane.snapshot,
  secret,
  trustDomain,
  identity,
  pools: new Pools(),
  retries: new RetryBudget(),
  observer: telemetry.http,
};
const connections = new Set<DownstreamConnection>();
const tcpConnections = new TcpConnections();
const undetected = new UndetectedPorts(log);

const plane = new DataPlane(
  {
    trustDomain,
    secret,
    refused: (listener, reason, detail) => {
      stats.refused(reason);
      log.debug("connection refused", { listener, reason, detail });
    },
    denied: (accepted, termination) => telemetry.tcp.denied(accepted, termination),
    undetected: (listener, facts) =>
      undetected.tell(listener.name, facts.destinationPort, listener.listenerFiltersTimeoutMs),
    unmatched: (listener, facts) => telemetry.tcp.unmatched(listener, facts),
  },
  {
    http: (accepted) => {
      const handler = new HttpHandler(accepted, shared);
      const options = connectionOptions(accepted.chain.terminal);
      const connection = new DownstreamConnection(accepted.stream, handler, options);
      connections.add(connection);
      accepted.stream.once("close", () => connections.delete(connection));
    },
    tcp: (accepted, tcp) => {
      const { snapshot } = plane;
      if (snapshot === null) accepted.stream.destroy();
      else {
        const observer = telemetry.tcp.begin(accepted, tcp, snapshot);
        tcpConnections.add(accepted, serveTcp(accepted, tcp, snapshot, secret(), trustDomain, observer));
      }
    },
    drainHttp: () => {
      for (const connection of connections) connection.draining = true;
    },
  },
  log,
);
store.subscribe((snapshot) => {
  plane.publish(snapshot).then(
    (failed) => failed.forEach((address) => void log.error(`cannot listen on ${address}`)),
    (error: Error) => log.error(error.message),
  );
  tcpConnections.review(snapshot);
});

const { node } = config;
const metadata = { ...node.metadata, WEFT_VERSION: VERSION } as JsonObject;
const self = create(NodeSchema, { id: node.id, cluster: node.cluster, metadata, locality: node.locality });
const state = new DeltaClientState(self, ({ type, upserts, removed }) => {
  const resources = upserts.map(({ any }) => any);
  const { refused, warnings } = store.update({ typeUrl: type, resources, removed });
  const rejections = refused.map(({ index, message }) => ({ name: upserts[index]!.name, message }));
  archive.update(type, upserts, removed, new Map(rejections.map(({ name, message }) => [name, message])));
  stats.update(type, rejections.length > 0);
  for (const { name, message } of rejections) log.warn("resource refused", { type, name, reason: message });
  // A foreign control plane may have the same to be told of each of its clusters.
  for (const reason of warnings.slice(0, MOST_WARNINGS))
    log.warn("not carried out as written", { type, reason });
  if (warnings.length > MOST_WARNINGS)
    log.warn("not carried out as written, too", { type, count: warnings.length - MOST_WARNINGS });
  return rejections;
});
state.subscribe(TYPE.cluster, "*");
state.subscribe(TYPE.listener, "*");
const xds = new XdsConnection({
  address: discovery.address,
  state,
  ...(discovery.tokenFile === null ? {} : { tokenFile: discovery.tokenFile }),
  ...(discovery.rootCert === null ? {} : { rootCertFile: discovery.rootCert }),
  backoff: new Backoff(RECONNECT_MS.base, RECONNECT_MS.most),
  onStatus: ({ connected, error }) => {
    if (!connected) stats.unreachable();
    if (connected !== xdsConnected) {
      if (connected) stats.connected();
      else log.warn("the control plane is out of reach; the last configuration serves", { reason: error });
    }
    xdsConnected = connected;
  },
});

const ready = () =>
  secrets.current !== undefined && store.current.listeners.size > 0 && !plane.unreachable && !plane.draining;
const pages = adminSource({
  bootstrap: config,
  version: VERSION,
  archive,
  registry: telemetry.registry,
  stats,
  snapshot: () => store.current,
  secret: () => secrets.current ?? null,
  state: () => ({
    ready: ready(),
    draining: plane.draining,
    xdsConnected,
    connections: plane.listeners.connections.size,
    certificateExpiresMs: secrets.current?.notAfter ?? null,
    spansExported: telemetry.spansExported,
    spansLost: telemetry.spansLost,
    logLinesLost: telemetry.logLinesLost,
  }),
  collect: () => telemetry.collect(),
  setLogLevel: (level) => log.setLevel(level),
  drain: () => void plane.drain(config.drainSeconds * 1000),
});
const servers = await Promise.all([
  serveAdmin(config.admin, pages),
  ...(config.prometheus === null ? [] : [servePrometheus(config.prometheus, pages)]),
  ...(config.statusPort === null ? [] : [serveStatus(config.statusPort, pages)]),
]).catch((error: Error): never => {
  log.error("an admin address cannot be bound", { reason: error.message });
  process.exit(1);
});
secrets.start();
xds.start();

process.once("SIGTERM", async () => {
  await plane.drain(config.drainSeconds * 1000);
  xds.close();
  secrets.stop();
  ca.close();
  await telemetry.close();
  for (const server of servers) server.close();
  process.exit(0);
});
