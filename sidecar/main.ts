/** The Weft sidecar: `node sidecar/main.ts --config FILE`. Wires certificates, xDS, data plane and admin together. */
import { parseArgs } from "node:util";
import { create, type JsonObject } from "@bufbuild/protobuf";
import { SecretManager } from "#certs/workload/index.ts";
import { createLogger } from "#lib/log.ts";
import { XdsConnection } from "#xds/client/connection.ts";
import { NodeSchema } from "#xds/gen/envoy/config/core/v3/base_pb.js";
import { DeltaClientState } from "#xds/index.ts";
import { serveAdmin } from "./admin/server.ts";
import { readBootstrap } from "./bootstrap.ts";
import { ConfigStore, TYPE_URL } from "./config/store.ts";
import { createCaClient } from "./envoy/ca-client.ts";
import { evaluateRbac } from "./filters/rbac.ts";
import { HttpHandler } from "./http/handler.ts";
import { Pools } from "./http/pools.ts";
import { NO_OBSERVER } from "./http/request-state.ts";
import { RetryBudget } from "./http/retry.ts";
import { DownstreamConnection } from "./http1/downstream.ts";
import { DataPlane } from "./proxy.ts";
import { serveTcp } from "./tcp/terminal.ts";

const VERSION = "0.1.0";
const { values } = parseArgs({ options: { config: { type: "string" } } });
if (values.config === undefined) throw new Error("usage: sidecar/main.ts --config FILE");
const config = readBootstrap(values.config);
const { trustDomain, discovery } = config;
const log = createLogger("sidecar", config.logLevel);
const ca = createCaClient(discovery);
const secrets = new SecretManager({ sign: ca.sign, trustDomain, log: log.child("certs") });
const secret = () => secrets.current ?? null;
const store = new ConfigStore();
const shared = {
  snapshot: () => plane.snapshot,
  secret,
  trustDomain,
  identity: () => secrets.current?.spiffeId ?? "",
  pools: new Pools(),
  retries: new RetryBudget(),
  observer: NO_OBSERVER,
};
const connections = new Set<DownstreamConnection>();

const plane = new DataPlane(
  {
    trustDomain,
    secret,
    permits: (filter, facts) =>
      filter.kind === "noop" ||
      evaluateRbac(filter.rbac, { connection: facts, head: null, remoteAddress: facts.sourceAddress })
        .allowed,
    refused: (listener, reason, detail) => log.debug(`${listener}: ${reason} ${detail}`),
  },
  {
    http: (accepted) => {
      const handler = new HttpHandler(accepted, shared);
      const options = { headTimeoutMs: 60_000, lingerMs: 1000 };
      const connection = new DownstreamConnection(accepted.stream, handler, options);
      connections.add(connection);
      accepted.stream.once("close", () => connections.delete(connection));
    },
    tcp: (accepted, tcp) => {
      if (plane.snapshot === null) accepted.stream.destroy();
      else serveTcp(accepted, tcp, plane.snapshot, secret(), trustDomain, () => {});
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
});

const { node } = config;
const metadata = { ...node.metadata, WEFT_VERSION: VERSION } as JsonObject;
const self = create(NodeSchema, { id: node.id, cluster: node.cluster, metadata, locality: node.locality });
const state = new DeltaClientState(self, ({ type, upserts, removed }) => {
  const resources = upserts.map(({ any }) => any);
  const { refused } = store.update({ typeUrl: type, resources, removed });
  return refused.map(({ index, message }) => ({ name: upserts[index]!.name, message }));
});
state.subscribe(TYPE_URL.cluster, "*");
state.subscribe(TYPE_URL.listener, "*");
const xds = new XdsConnection({
  address: discovery.address,
  state,
  ...(discovery.tokenFile === null ? {} : { tokenFile: discovery.tokenFile }),
  ...(discovery.rootCert === null ? {} : { rootCertFile: discovery.rootCert }),
  onStatus: ({ connected, error }) => log.debug(`xds: ${connected ? "connected" : error}`),
});

const ready = () => secrets.current !== undefined && store.current.listeners.size > 0 && !plane.draining;
const admin = await serveAdmin(config.admin, {
  ready,
  serverInfo: () => ({
    version: VERSION,
    state: plane.draining ? "DRAINING" : ready() ? "LIVE" : "PRE_INITIALIZING",
    uptime_current_epoch: `${Math.floor(process.uptime())}s`,
    node: { id: node.id, cluster: node.cluster },
  }),
  configDump: () => ({
    version: store.current.version,
    listeners: [...store.current.listeners.values()],
    clusters: [...store.current.clusters.values()],
    routes: [...store.current.routeTables.values()],
  }),
  clusters: () => ({ cluster_statuses: [] }),
  listeners: () => ({ listener_statuses: [] }),
  certs: () => ({ certificates: [] }),
  stats: () => [],
  prometheus: () => "",
  setLogLevel: () => {},
  drain: () => void plane.drain(config.drainSeconds * 1000),
  quit: null,
});
secrets.start();
xds.start();

process.once("SIGTERM", async () => {
  await plane.drain(config.drainSeconds * 1000);
  xds.close();
  secrets.stop();
  ca.close();
  admin.close();
  process.exit(0);
});
