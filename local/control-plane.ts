/** The control plane of a mesh: its config file, its process, and what its admin socket says. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Clock } from "#lib/clock.ts";
import { COMPILE_CACHE } from "#lib/compile-cache.ts";
import { getJson, isReady } from "./admin-socket.ts";
import { MARK } from "./leftovers.ts";
import { MACHINE_FLAGS } from "./node-process.ts";
import { list, PlatformError, record } from "./object.ts";
import { MACHINE_RESTART, Supervised } from "./process.ts";
import { writeAtomic } from "./tokens.ts";

const START_TIMEOUT_MS = 20_000;

export interface ControlPlaneOptions {
  readonly stateDir: string;
  readonly projectDir: string;
  readonly tokenKeys: string;
  /** Keys of control-plane.json that the caller sets. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly clock: Clock;
  readonly changed: () => void;
}

export class ControlPlane {
  readonly #options: ControlPlaneOptions;
  readonly #process: Supervised;

  constructor(options: ControlPlaneOptions) {
    this.#options = options;
    const { stateDir, projectDir } = options;
    this.#process = new Supervised(
      {
        name: "control-plane",
        command: [
          process.execPath,
          ...MACHINE_FLAGS,
          join(projectDir, "control-plane", "main.ts"),
          "--config",
          this.#configFile,
        ],
        cwd: projectDir,
        env: { ...definedEnv(), NODE_COMPILE_CACHE: COMPILE_CACHE, [MARK]: stateDir },
        logFile: join(stateDir, "control-plane.log"),
        ...MACHINE_RESTART,
      },
      options.clock,
      options.changed,
    );
  }

  get #configFile(): string {
    return join(this.#options.stateDir, "control-plane.json");
  }
  get #admin(): string {
    return join(this.#options.stateDir, "admin.sock");
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Resolves when it answers. */
  async start(): Promise<void> {
    const { stateDir, config, tokenKeys } = this.#options;
    const written = {
      paths: [],
      trustDomain: "cluster.local",
      rootNamespace: "istio-system",
      ...config,
      stateDir,
      listen: {
        grpc: [`unix:${join(stateDir, "xds.sock")}`],
        admin: `unix:${this.#admin}`,
        otlp: `unix:${join(stateDir, "otlp.sock")}`,
      },
      platform: join(stateDir, "platform.json"),
      tokenKeys,
    };
    writeAtomic(this.#configFile, JSON.stringify(written, undefined, 1));
    this.#process.start();
    // A process tells nobody that its socket listens: it is asked.
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (!(await isReady(this.#admin, "/healthz"))) {
      if (this.#process.restarts > 2 || performance.now() > deadline)
        throw new PlatformError(
          `the control plane did not start (${this.#process.lastExit ?? "no answer"}): ${lastWords(this.#process.spec.logFile)}`,
        );
      await delay(20);
    }
  }

  /** The pod addresses whose proxy is connected and has acknowledged all that there is for it now. */
  async synced(): Promise<ReadonlySet<string>> {
    const proxies = list(record(await getJson(this.#admin, "/status"))["proxies"]);
    const settled = proxies.filter((proxy) => {
      const types = Object.values(record(proxy["types"])).map(record);
      return (
        proxy["connected"] === true &&
        types.length > 0 &&
        types.every(
          (t) => t["upToDate"] === true && t["nonceAcked"] === t["nonceSent"] && t["nack"] === undefined,
        )
      );
    });
    return new Set(settled.map((proxy) => String(proxy["nodeId"]).split("~")[1] ?? ""));
  }

  stop(graceMs: number): Promise<void> {
    return this.#process.stop(graceMs);
  }
}

function definedEnv(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(process.env).filter((e): e is [string, string] => e[1] !== undefined),
  );
}

/** What it said last of an error, else what it wrote last: a crash is no line of a log. */
function lastWords(file: string): string {
  let text = "";
  try {
    text = readFileSync(file, "utf8");
    const lines = text.trim().split("\n");
    const errors = lines.flatMap((line) =>
      line.includes('"level":"error"') ? [record(JSON.parse(line))] : [],
    );
    const said = errors.at(-1)?.["message"];
    if (typeof said === "string") return said;
  } catch {
    // Not readable, or a line that was cut.
  }
  return text.slice(-1500) || "(no log)";
}
