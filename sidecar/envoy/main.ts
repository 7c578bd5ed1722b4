/**
 * pilot-agent's part for a stock Envoy: `node sidecar/envoy/main.ts --config FILE [--envoy PATH]`.
 * Gets certificates, serves them over SDS, writes the bootstrap, runs Envoy, and ends with it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { SecretManager } from "#certs/workload/index.ts";
import { createLogger, type Logger } from "#lib/log.ts";
import { type Bootstrap, type ListenAddress, readBootstrap } from "../bootstrap.ts";
import { createCaClient } from "./ca-client.ts";
import { envoyBootstrap } from "./envoy-bootstrap.ts";
import { addSdsService } from "./sds.ts";

const LEVELS = { debug: "debug", info: "info", warn: "warning", error: "error", silent: "off" } as const;

async function main(): Promise<void> {
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
    const end = (): void => void child.kill("SIGTERM");
    drain(config.admin).then(
      () => setTimeout(end, config.drainSeconds * 1000),
      (problem: Error) => {
        log.warn("Envoy did not take the drain request", { error: problem.message });
        end();
      },
    );
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
}

function drain(admin: ListenAddress): Promise<void> {
  const where = admin.kind === "unix" ? { socketPath: admin.path } : { host: admin.host, port: admin.port };
  return new Promise((resolve, reject) => {
    const call = request(
      {
        ...where,
        method: "POST",
        path: "/drain_listeners?graceful&skip_exit",
        timeout: 1000,
        headers: { host: "admin" },
      },
      (answer) => {
        answer.resume();
        answer.once("end", resolve);
      },
    );
    call.once("timeout", () => call.destroy(new Error("no answer within 1 s")));
    call.once("error", reject);
    call.end();
  });
}

main().catch((problem: unknown) => {
  process.stderr.write(`envoy-agent: ${(problem as Error).message}\n`);
  process.exit(1);
});
