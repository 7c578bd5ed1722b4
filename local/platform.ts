import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join, resolve as resolvePath } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Clock, systemClock } from "#lib/clock.ts";
import { createLogger } from "#lib/log.ts";
import { Addresses } from "./addresses.ts";
import { HostPorts } from "./host-ports.ts";
import { killLeftovers, MARK, startTime } from "./leftovers.ts";
import { chooseMode, type Mode } from "./mode.ts";
import { list, PlatformError, type PlatformObject, record } from "./object.ts";
import { PlatformFile, platformState, serviceEnvironment, virtualServices } from "./platform-state.ts";
import { getJson, isReady, Pod } from "./pod.ts";
import { MACHINE_RESTART, Supervised } from "./process.ts";
import { type PodTemplate, podTemplates } from "./spec.ts";
import { Tokens, writeAtomic } from "./tokens.ts";

export interface PlatformOptions {
  readonly objects: readonly PlatformObject[];
  readonly stateDir: string;
  readonly mode?: Mode | "auto";
  /** "none" starts the apps alone: for tests of the platform itself. */
  readonly dataPlane?: "weft" | "envoy" | "none";
  /** The Envoy binary for dataPlane "envoy"; without it, `envoy` on the PATH. */
  readonly envoy?: string;
  /** Keys of control-plane.json that the caller sets: paths, trustDomain, traceSampling, accessLog ... */
  readonly controlPlaneConfig?: Readonly<Record<string, unknown>>;
  /** How long a pod that leaves stays out of the endpoints before it gets SIGTERM. Default 500 ms. */
  readonly drainMs?: number;
  readonly clock?: Clock;
  readonly onChange?: () => void;
}

export interface PodStatus {
  readonly name: string;
  readonly namespace: string;
  readonly workload: string;
  readonly podIp: string;
  readonly ready: boolean;
  readonly admin: string;
  readonly containers: readonly {
    name: string;
    state: string;
    pid?: number;
    restarts: number;
    lastExit?: string;
  }[];
}

export interface PlatformStatus {
  readonly mode: Mode;
  readonly reason: string;
  readonly ready: boolean;
  readonly pid: number;
  readonly stateDir: string;
  readonly admin: string;
  readonly hostPorts: readonly { port: number; service: string }[];
  readonly pods: readonly PodStatus[];
}

const PROJECT = dirname(dirname(fileURLToPath(import.meta.url)));

/** Starts the control plane, then every pod; resolves when the processes are started (see `whenReady`). */
export async function startPlatform(given: PlatformOptions): Promise<Platform> {
  const options = { ...given, stateDir: resolvePath(given.stateDir) };
  const { mode, reason } = chooseMode(options.mode ?? "auto");
  const templates = podTemplates(options.objects);
  mkdirSync(join(options.stateDir, "pods"), { recursive: true, mode: 0o700 });
  checkSocketPaths(options.stateDir, templates);
  await takeOver(options.stateDir);
  const platform = new Platform(options, mode, reason);
  try {
    await platform.begin(templates);
  } catch (error) {
    await platform.stop();
    throw error;
  }
  return platform;
}

/** sun_path holds 107 bytes and a terminator (unix(7)); found out here, not by each proxy in its log. */
function checkSocketPaths(stateDir: string, templates: readonly PodTemplate[]): void {
  for (const { workload } of templates) {
    const bytes = Buffer.byteLength(join(stateDir, "pods", `${workload}-00`, "admin.sock"));
    if (bytes > 107)
      throw new PlatformError(
        `state directory ${stateDir} is too long for the Unix sockets of ${workload} (${bytes} of 107 bytes): set XDG_STATE_HOME to a shorter path`,
      );
  }
}

/** Refuses when the mesh runs; otherwise cleans what a killed supervisor left. */
async function takeOver(stateDir: string): Promise<void> {
  const running = runningSupervisor(stateDir);
  if (running !== undefined && running !== process.pid)
    throw new PlatformError(
      `a mesh already runs in ${stateDir} (pid ${running}): stop it with "weft down" or choose another with --mesh`,
    );
  await killLeftovers(stateDir);
  for (const name of ["xds.sock", "admin.sock", "otlp.sock", "platform.json"])
    rmSync(join(stateDir, name), { force: true });
}

/** The pid of the supervisor of this state directory, if that very process still lives. */
export function runningSupervisor(stateDir: string): number | undefined {
  const file = join(stateDir, "supervisor.json");
  if (!existsSync(file)) return undefined;
  try {
    const saved = JSON.parse(readFileSync(file, "utf8")) as { pid: number; startTime: string };
    return startTime(saved.pid) === saved.startTime ? saved.pid : undefined;
  } catch {
    return undefined;
  }
}

/** `weft down`: asks the supervisor to stop and waits; then nothing of the mesh is left. False: nothing ran. */
export async function stopRunning(stateDir: string, timeoutMs = 60_000): Promise<boolean> {
  const pid = runningSupervisor(stateDir);
  if (pid !== undefined && pid !== process.pid) {
    process.kill(pid, "SIGTERM");
    const deadline = performance.now() + timeoutMs;
    while (runningSupervisor(stateDir) === pid && performance.now() < deadline) await delay(20);
    if (runningSupervisor(stateDir) === pid) process.kill(pid, "SIGKILL");
  }
  const killed = await killLeftovers(stateDir);
  rmSync(join(stateDir, "supervisor.json"), { force: true });
  return pid !== undefined || killed.length > 0;
}

export class Platform {
  readonly #options: PlatformOptions;
  readonly #mode: Mode;
  readonly #reason: string;
  readonly #clock: Clock;
  readonly #addresses: Addresses;
  readonly #tokens: Tokens;
  readonly #file: PlatformFile;
  readonly #hostPorts = new HostPorts();
  readonly #log = createLogger("local");
  #controlPlane: Supervised | undefined;
  #objects: readonly PlatformObject[];
  #templates: readonly PodTemplate[] = [];
  #pods: Pod[] = [];
  #stopped = false;
  #reconciling: Promise<void> = Promise.resolve();
  #writeQueued = false;
  readonly #waiters = new Set<() => void>();

  constructor(options: PlatformOptions, mode: Mode, reason: string) {
    this.#options = options;
    this.#mode = mode;
    this.#reason = reason;
    this.#clock = options.clock ?? systemClock;
    this.#objects = options.objects;
    this.#addresses = new Addresses(join(options.stateDir, "addresses.json"), mode);
    this.#tokens = new Tokens(options.stateDir);
    this.#file = new PlatformFile(join(options.stateDir, "platform.json"));
  }

  async begin(templates: readonly PodTemplate[]): Promise<void> {
    await this.#hostPorts.update(this.#objects, () => this.#pods);
    this.#saveSupervisor();
    this.#writeState();
    if (this.#options.dataPlane !== "none") await this.#startControlPlane();
    this.#templates = templates;
    await this.#reconcile();
  }

  async #startControlPlane(): Promise<void> {
    const dir = this.#options.stateDir;
    const config = {
      paths: [],
      trustDomain: "cluster.local",
      rootNamespace: "istio-system",
      ...this.#options.controlPlaneConfig,
      stateDir: dir,
      listen: {
        grpc: [`unix:${join(dir, "xds.sock")}`],
        admin: `unix:${join(dir, "admin.sock")}`,
        otlp: `unix:${join(dir, "otlp.sock")}`,
      },
      platform: join(dir, "platform.json"),
      tokenKeys: this.#tokens.publicKeyFile,
    };
    const file = join(dir, "control-plane.json");
    writeAtomic(file, JSON.stringify(config, undefined, 1));
    const logFile = join(dir, "control-plane.log");
    const process_ = new Supervised(
      {
        name: "control-plane",
        command: [process.execPath, join(PROJECT, "control-plane", "main.ts"), "--config", file],
        cwd: PROJECT,
        env: { ...definedEnv(), [MARK]: dir },
        logFile,
        ...MACHINE_RESTART,
      },
      this.#clock,
      () => this.#changed(),
    );
    this.#controlPlane = process_;
    process_.start();
    const deadline = performance.now() + 20_000;
    while (!(await isReady(join(dir, "admin.sock"), "/healthz"))) {
      if (process_.restarts > 2 || performance.now() > deadline)
        throw new PlatformError(
          `the control plane did not start (${process_.lastExit ?? "no answer"}): ${tail(logFile)}`,
        );
      await delay(20);
    }
  }

  /** New objects: scales, replaces what changed, removes what is gone. On an error nothing changes. */
  async update(objects: readonly PlatformObject[]): Promise<void> {
    const templates = podTemplates(objects);
    await this.#hostPorts.update(objects, () => this.#pods);
    this.#objects = objects;
    this.#templates = templates;
    this.#writeState();
    await this.#reconcile();
  }

  #reconcile(): Promise<void> {
    this.#reconciling = this.#reconciling.then(async () => {
      const templates = this.#templates;
      const key = (t: PodTemplate): string => `${t.namespace}/${t.workload}`;
      const wanted = new Set(templates.map(key));
      const gone = this.#pods.filter((p) => !wanted.has(key(p.template)));
      await Promise.all([...gone.map((p) => this.#remove(p)), ...templates.map((t) => this.#workload(t))]);
    });
    return this.#reconciling;
  }

  async #workload(template: PodTemplate): Promise<void> {
    const mine = this.#pods.filter(
      (p) =>
        !p.stopping &&
        p.template.workload === template.workload &&
        p.template.namespace === template.namespace,
    );
    const current = mine.filter((p) => p.template.hash === template.hash);
    const old = mine.filter((p) => p.template.hash !== template.hash);
    const fresh: Pod[] = [];
    for (let n = current.length; n < template.replicas; n++) fresh.push(await this.#create(template));
    const started = Promise.all(fresh.map((p) => p.start()));
    if (old.length > 0) {
      // Rolling: the old serve until the new do. If the new never get ready, the old stay, as with maxUnavailable 0.
      void started
        .then(() => this.#when(() => fresh.every((p) => p.ready) || this.#stopped))
        .then(() => Promise.all(old.map((p) => this.#remove(p))))
        .catch((error: unknown) => this.#failed(template, error));
    } else {
      void started.catch((error: unknown) => this.#failed(template, error));
    }
    await Promise.all(current.slice(template.replicas).map((p) => this.#remove(p)));
  }

  #failed(template: PodTemplate, error: unknown): void {
    this.#log.error("a pod could not be started", {
      workload: `${template.namespace}/${template.workload}`,
      error,
    });
  }

  async #create(template: PodTemplate): Promise<Pod> {
    const names = new Set(this.#pods.map((p) => p.name));
    let n = 0;
    while (names.has(`${template.workload}-${n}`)) n++;
    const bare = template.ownerKind === "Pod" && !names.has(template.workload);
    const name = bare ? template.workload : `${template.workload}-${n}`;
    const address = await this.#addresses.pod(name);
    const pod = new Pod({
      name,
      template,
      address,
      stateDir: this.#options.stateDir,
      trustDomain: String(this.#options.controlPlaneConfig?.["trustDomain"] ?? "cluster.local"),
      proxyCommand: this.#proxyCommand(),
      projectDir: PROJECT,
      tokens: this.#tokens,
      clock: this.#clock,
      serviceEnv: serviceEnvironment(template.namespace, virtualServices(this.#objects), (key) => {
        const vip = this.#addresses.service(key);
        return this.#mode === "transparent" ? vip : vip.replace(/^\d+\.\d+/, address.servicePrefix);
      }),
      changed: () => this.#changed(),
    });
    this.#pods.push(pod);
    this.#writeState();
    return pod;
  }

  #proxyCommand(): readonly string[] | undefined {
    const kind = this.#options.dataPlane ?? "weft";
    if (kind === "none") return undefined;
    if (kind === "weft") return [process.execPath, join(PROJECT, "sidecar", "main.ts")];
    const agent = [process.execPath, join(PROJECT, "sidecar", "envoy", "main.ts")];
    return this.#options.envoy === undefined ? agent : [...agent, "--envoy", this.#options.envoy];
  }

  async #remove(pod: Pod): Promise<void> {
    if (pod.stopping) return;
    await pod.stop(this.#options.drainMs ?? 500);
    this.#pods = this.#pods.filter((p) => p !== pod);
    this.#addresses.release(pod.name);
    this.#changed();
  }

  #changed(): void {
    for (const check of this.#waiters) check();
    this.#options.onChange?.();
    if (this.#writeQueued || this.#stopped) return;
    this.#writeQueued = true;
    setImmediate(() => {
      this.#writeQueued = false;
      if (!this.#stopped) this.#writeState();
    });
  }

  #writeState(): void {
    const vips = new Map<string, string>();
    for (const s of virtualServices(this.#objects)) {
      const key = `${s.metadata.namespace ?? "default"}/${s.metadata.name}`;
      vips.set(key, this.#addresses.service(key));
    }
    this.#file.write(platformState(this.#mode, this.#pods, vips));
  }

  #saveSupervisor(): void {
    const { mode, reason } = this.status();
    const file = join(this.#options.stateDir, "supervisor.json");
    writeAtomic(
      file,
      JSON.stringify({ pid: process.pid, startTime: startTime(process.pid), mode, reason }, undefined, 1),
    );
  }

  #when(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve();
    return new Promise((resolve) => {
      const check = (): void => {
        if (!condition()) return;
        this.#waiters.delete(check);
        resolve();
      };
      this.#waiters.add(check);
    });
  }

  /**
   * Resolves when every wanted pod is ready and every proxy has acknowledged the endpoints of all; after `timeoutMs` an
   * error that says which is not and why.
   */
  async whenReady(timeoutMs = 60_000): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    const timeout = delay(timeoutMs, "late" as const, { ref: false });
    if ((await Promise.race([this.#when(() => this.status().ready), timeout])) !== "late") {
      // The control plane must have read the last readiness before its proxies can have it.
      this.#writeState();
      let waiting = await this.#unsynced();
      while (waiting.length > 0 && performance.now() < deadline && !this.#stopped) {
        await delay(10);
        waiting = await this.#unsynced();
      }
      if (waiting.length === 0 || this.#stopped) return;
      throw new PlatformError(
        `not ready after ${timeoutMs / 1000} s: configuration not acknowledged by ${waiting.join(", ")}`,
      );
    }
    const late = this.#pods
      .filter((p) => !p.ready)
      .map((p) => {
        const parts = p.processes.map(
          (c) =>
            `${c.spec.name} ${c.state}${c.lastExit === undefined ? "" : ` (last: ${c.lastExit})`}, log ${c.spec.logFile}`,
        );
        return `${p.name}: ${parts.join("; ")}`;
      });
    throw new PlatformError(`not ready after ${timeoutMs / 1000} s:\n${late.join("\n")}`);
  }

  /** Pods whose proxy is not connected or has not acknowledged what the control plane has for it now. */
  async #unsynced(): Promise<string[]> {
    if ((this.#options.dataPlane ?? "weft") === "none") return [];
    const wanted = this.#pods.filter((p) => !p.stopping && p.template.inject);
    const answer = await getJson(join(this.#options.stateDir, "admin.sock"), "/status");
    const proxies = list(record(answer)["proxies"]);
    const synced = (pod: Pod): boolean =>
      proxies.some((proxy) => {
        const types = Object.values(record(proxy["types"])).map(record);
        return (
          String(proxy["nodeId"]).split("~")[1] === pod.address.podIp &&
          proxy["connected"] === true &&
          types.length > 0 &&
          types.every((t) => t["nonceAcked"] === t["nonceSent"] && t["nack"] === undefined)
        );
      });
    return wanted.filter((p) => !synced(p)).map((p) => p.name);
  }

  status(): PlatformStatus {
    const count = (t: PodTemplate): number =>
      this.#pods.filter((p) => p.template.hash === t.hash && p.template.workload === t.workload && p.ready)
        .length;
    return {
      mode: this.#mode,
      reason: this.#reason,
      ready: this.#templates.every((t) => count(t) === t.replicas),
      pid: process.pid,
      stateDir: this.#options.stateDir,
      admin: `unix:${join(this.#options.stateDir, "admin.sock")}`,
      hostPorts: this.#hostPorts.open,
      pods: this.#pods.map((p) => ({
        name: p.name,
        namespace: p.template.namespace,
        workload: p.template.workload,
        podIp: p.address.podIp,
        ready: p.ready,
        admin: p.adminAddress,
        containers: p.processes.map((c) => ({
          name: c.spec.name,
          state: c.state,
          ...(c.pid === undefined ? {} : { pid: c.pid }),
          restarts: c.restarts,
          ...(c.lastExit === undefined ? {} : { lastExit: c.lastExit }),
        })),
      })),
    };
  }

  /** Stops everything; no process, socket or address of the mesh stays. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#changed();
    this.#hostPorts.close();
    await Promise.all(this.#pods.map((p) => p.stop(0)));
    await this.#controlPlane?.stop(5_000);
    await killLeftovers(this.#options.stateDir);
    this.#addresses.close();
    for (const name of ["xds.sock", "admin.sock", "otlp.sock", "platform.json", "supervisor.json"])
      rmSync(join(this.#options.stateDir, name), { force: true });
  }
}

function definedEnv(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(process.env).filter((e): e is [string, string] => e[1] !== undefined),
  );
}

function tail(file: string): string {
  try {
    return readFileSync(file, "utf8").slice(-1500);
  } catch {
    return "(no log)";
  }
}
