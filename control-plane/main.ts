import { chmodSync, readFileSync } from "node:fs";
import type { Server as HttpServer } from "node:http";
import { join } from "node:path";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { Authority } from "#certs/authority/index.ts";
import { createLogger } from "#lib/log.ts";
import { refuseInspector } from "#lib/no-inspector.ts";
import { createAdminServer } from "./admin/server.ts";
import { addCaService, createAuthenticate } from "./ca/index.ts";
import { type Config, readConfig } from "./config.ts";
import { IssueLog } from "./issue-log.ts";
import { toWorld } from "./pipeline.ts";
import { AdsServer } from "./serve/ads.ts";
import { Distributor } from "./serve/distributor.ts";
import { claimSocket } from "./serve/socket.ts";
import { appliedDir } from "./sources/applied.ts";
import { watchFiles } from "./sources/file.ts";
import { LastGood } from "./sources/last-good.ts";
import { createOtlpServer, Forwarder, TraceStore } from "./traces/index.ts";

const log = createLogger("control-plane");

async function main(): Promise<void> {
  refuseInspector();
  const at = process.argv.indexOf("--config");
  const file = process.argv[at + 1];
  if (at < 0 || file === undefined) throw new Error("say which configuration: --config FILE");
  const config = readConfig(file);
  for (const address of [...config.listen.grpc, config.listen.admin])
    if (address.startsWith("unix:")) await claimSocket(address.slice(5));
  const paths = [...config.paths, appliedDir(config.stateDir), ...(config.platform ? [config.platform] : [])];
  const issues = new IssueLog(log.child("policies"));
  // The sources are read before anything listens: no proxy ever hears of a half-read world.
  const source = watchFiles(
    paths,
    () => {
      world = toWorld(source.objects(), config, world);
      distributor.publish();
      issues.write(source.issues(), world);
    },
    {
      platform: config.platform,
      renamed: appliedDir(config.stateDir),
      named: config.paths,
      lastGood: new LastGood(join(config.stateDir, "last-good"), (message) => log.warn(message)),
    },
  );
  let world = toWorld(source.objects(), config);
  issues.write(source.issues(), world);
  const authenticate = createAuthenticate({
    publicKeyPem: config.tokenKeys === null ? null : readFileSync(config.tokenKeys, "utf8"),
    trustDomain: config.trustDomain,
  });
  const distributor = new Distributor({
    config,
    world: () => world,
    push: (nodeId, resources) => ads.push(nodeId, resources),
    log: log.child("serve"),
  });
  const ads = new AdsServer({
    ...(config.tokenKeys === null ? {} : { authenticate }),
    log: log.child("ads"),
    onConnect: (node) => distributor.connect(node),
    onDisconnect: (nodeId) => distributor.disconnect(nodeId),
  });
  const server = new Server();
  ads.register(server);
  const authority = Authority.open(join(config.stateDir, "ca"), config.trustDomain);
  if (authority.created)
    log.info("a new root certificate was made", { directory: join(config.stateDir, "ca") });
  addCaService(server, { authority, authenticate, defaultTtlSeconds: config.certificateTtlSeconds, log });
  for (const address of config.listen.grpc) {
    await new Promise<void>((done, fail) =>
      server.bindAsync(address, ServerCredentials.createInsecure(), (e) => (e ? fail(e) : done())),
    );
  }
  const traces = await receiveTraces(config);
  const admin = createAdminServer({
    config,
    world: () => world,
    objects: source.objects,
    issues: source.issues,
    awaited: source.awaited,
    proxies: () => ads.status(),
    answers: () => ads.answers(),
    resources: () => distributor.given,
    failures: () => distributor.failures,
    traces: traces?.store ?? null,
    reload: source.reload,
  });
  await listenPrivately(admin, config.listen.admin);
  process.once("SIGTERM", () => {
    source.close();
    admin.close();
    traces?.close();
    server.forceShutdown();
  });
}

/** The OTLP receiver and its store; null where the configuration has no address for it. */
async function receiveTraces(config: Config): Promise<{ store: TraceStore; close(): void } | null> {
  const address = config.listen.otlp;
  if (address === null) return null;
  if (address.startsWith("unix:")) await claimSocket(address.slice(5));
  const store = openTraces(join(config.stateDir, "traces.db"));
  const { otlpEndpoint } = config;
  const forwarder = otlpEndpoint === null ? null : new Forwarder(otlpEndpoint, log.child("otlp"));
  const receiver = createOtlpServer(store, log.child("otlp"), (one) => forwarder?.push(one));
  await listenPrivately(receiver, address);
  return {
    store,
    close: () => {
      receiver.close();
      receiver.closeAllConnections();
      store.close();
    },
  };
}

/** The mesh does not wait for its traces: with a broken file, or no room for one, they live as long as this process. */
function openTraces(file: string): TraceStore {
  try {
    return new TraceStore(file);
  } catch (error) {
    log.error("traces are kept in memory only", { error });
    return new TraceStore(":memory:");
  }
}

/** A Unix socket that is born 0600: bind happens inside listen. */
async function listenPrivately(server: HttpServer, address: string): Promise<void> {
  const socket = address.replace(/^unix:/, "");
  const umask = process.umask(0o177);
  const listening = new Promise<void>((done, fail) => server.once("error", fail).listen(socket, done));
  process.umask(umask);
  await listening;
  chmodSync(socket, 0o600);
}

main().catch((error: Error) => {
  log.error(error.message);
  process.exit(1);
});
