/**
 * pilot-agent's part for a stock Envoy: `node sidecar/envoy/main.ts --config FILE [--envoy PATH]`.
 * Gets certificates, serves them over SDS, relays xDS, writes the bootstrap, runs Envoy, and ends with it.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { SecretManager } from "#certs/workload/index.ts";
import { createLogger, type Logger } from "#lib/log.ts";
import { refuseInspector } from "#lib/no-inspector.ts";
import { type Bootstrap, type ListenAddress, readBootstrap } from "../bootstrap.ts";
import { createCaClient } from "../control-plane/ca-client.ts";
import { envoyBootstrap } from "./envoy-bootstrap.ts";
import { addSdsService } from "./sds.ts";
import { addXdsRelay } from "./xds-relay.ts";

const LEVELS = { debug: "debug", info: "info", warn: "warning", error: "error", silent: "off" } as const;

async function main(): Promise<void> {
  refuseInspector();
  const { values } = parseArgs({ options: { config: { type: "string" }, envoy: { type: "string" } } });
  if (values.config === undefined)
    throw new Error("usage: sidecar/envoy/main.ts --config FILE [--envoy PATH]");
  const config = readBootstrap(values.config);
  if (config.sds?.kind !== "unix")
    throw new Error(`${values.config}: sds must be unix:/path when the proxy is Envoy`);
  const log = createLogger("envoy-agent", config.logLevel);

  const ca = createCaClient(config.discovery);
  const secrets = new SecretManager({
    sign: ca.sign,
    trustDomain: config.trustDomain,
    log: log.child("certs"),
  });
  const server = new Server();
  addSdsService(server, secrets, log.child("sds"));
  addXdsRelay(server, config.discovery, log.child("xds"));
  await listen(server, config.sds.path);
  secrets.start();

  const file = join(dirname(config.sds.path), "envoy.json");
  writeFileSync(`${file}.new`, JSON.stringify(envoyBootstrap(config), null, 2), { mode: 0o600 });
  renameSync(`${file}.new`, file);
  if (config.admin.kind === "unix") rmSync(config.admin.path, { force: true });

  const child = spawn(
    values.envoy ?? process.env["WEFT_ENVOY"] ?? "envoy",
    [
      "-c",
      file,
      "--log-level",
      LEVELS[config.logLevel],
      "--use-dynamic-base-id",
      // Its own default is 10 s: whoever watches a log wants the line now.
      "--file-flush-interval-msec",
      "1000",
      "--concurrency",
      String(concurrency(config)),
      "--drain-time-s",
      String(config.drainSeconds),
      "--drain-strategy",
      "immediate",
    ],
    { stdio: ["ignore", "inherit", "inherit"] },
  );
  forwardSignals(child, config, log);
  const code = await new Promise<number>((resolve, reject) => {
    child.once("error", (problem) => reject(new Error(`Envoy cannot be started: ${problem.message}`)));
    child.once("exit", (status, signal) => {
      log.info("Envoy ended", { status, signal });
      resolve(status ?? (signal === "SIGTERM" ? 0 : 1));
    });
  });
  secrets.stop();
  ca.close();
  server.forceShutdown();
  process.exit(code);
}

/** Workers, as Istio's ProxyConfig.concurrency: 2 unless the pod says otherwise. */
function concurrency(config: Bootstrap): number {
  const given = config.node.metadata["PROXY_CONFIG"];
  return (given as { concurrency?: number } | undefined)?.concurrency ?? 2;
}

function listen(server: Server, path: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  rmSync(path, { force: true });
  return new Promise((resolve, reject) =>
    server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (problem) =>
      problem ? reject(problem) : resolve(),
    ),
  );
}

/** What is still being answered after the drain may be answered, at most for so long. */
const LAST_ANSWERS_MS = 2_000;

/** First signal: drain, wait, stop, as pilot-agent does. A second one does not wait. */
function forwardSignals(child: ChildProcess, config: Bootstrap, log: Logger): void {
  let stopping = false;
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping) {
      child.kill("SIGKILL");
      return;
    }
    stopping = true;
    log.info("draining", { signal, seconds: config.drainSeconds });
    void drain(config)
      .catch((problem: Error) => log.warn("Envoy did not take the drain request", { error: problem.message }))
      .then(() => child.kill("SIGTERM"));
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
}

async function drain({ admin, drainSeconds }: Bootstrap): Promise<void> {
  // Not ready from now on: whoever distributes endpoints sends nobody here, before connections are cut.
  await ask(admin, "POST", "/healthcheck/fail");
  await ask(admin, "POST", "/drain_listeners?graceful&skip_exit");
  await delay(drainSeconds * 1000);
  const active = "/stats?filter=^listener\\..*\\.downstream_cx_active$";
  const last = performance.now() + LAST_ANSWERS_MS;
  while (performance.now() < last && /: [1-9]/.test(await ask(admin, "GET", active))) await delay(50);
}

function ask(admin: ListenAddress, method: string, path: string): Promise<string> {
  const where = admin.kind === "unix" ? { socketPath: admin.path } : { host: admin.host, port: admin.port };
  return new Promise((resolve, reject) => {
    const call = request({ ...where, method, path, timeout: 1000, headers: { host: "admin" } }, (answer) => {
      let text = "";
      answer.on("data", (chunk) => {
        text += chunk;
      });
      answer.once("end", () => resolve(text));
    });
    call.once("timeout", () => call.destroy(new Error("no answer within 1 s")));
    call.once("error", reject);
    call.end();
  });
}

main().catch((problem: unknown) => {
  process.stderr.write(`envoy-agent: ${(problem as Error).message}\n`);
  process.exit(1);
});
