import { mkdirSync, rmSync } from "node:fs";
import type { Server } from "node:http";
import { dirname, join, resolve as resolvePath } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Clock, systemClock } from "#lib/clock.ts";
import { createLogger } from "#lib/log.ts";
import { Addresses } from "./addresses.ts";
import type { PlatformStatus, WorkloadStatus } from "./contract.ts";
import { ControlPlane } from "./control-plane.ts";
import { OperationError, type Operations, serveControl } from "./control-socket.ts";
import { HostPorts } from "./host-ports.ts";
import { type Chosen, chooseMode, type Mode } from "./mode.ts";
import { MeshView } from "./network/mesh-view.ts";
import type { Names } from "./network/names.ts";
import { dial, hostNetwork, type PodNetwork } from "./network/network.ts";
import { SIDECAR_FLAGS } from "./node-process.ts";
import { PlatformError, type PlatformObject } from "./object.ts";
import {
  PlatformFile,
  platformState,
  serviceEnvironment,
  serviceKey,
  virtualServices,
} from "./platform-state.ts";
import { Pod } from "./pod.ts";
import { type PodTemplate, podTemplates } from "./spec.ts";
import { saveSupervisor, sweep, takeOver } from "./supervisor.ts";
import { Tokens } from "./tokens.ts";

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

const ACKNOWLEDGED_TIMEOUT_MS = 5_000;
const RETRY_MS = 1_000;
const PROJECT = dirname(dirname(fileURLToPath(import.meta.url)));

/** Starts the control plane, then every pod; resolves when the processes are started (see `whenReady`). */
export async function startPlatform(given: PlatformOptions): Promise<Platform> {
  const options = { ...given, stateDir: resolvePath(given.stateDir) };
  const templates = podTemplates(options.objects);
  mkdirSync(join(options.stateDir, "pods"), { recursive: true, mode: 0o700 });
  checkSocketPaths(options.stateDir, templates);
  await takeOver(options.stateDir);
  const tokens = new Tokens(options.stateDir);
  const platform = new Platform(options, await chooseMode(options.mode ?? "auto", options.stateDir), tokens);
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

export class Platform {
  readonly #options: PlatformOptions;
  readonly #chosen: Chosen;
  readonly #clock: Clock;
  readonly #addresses: Addresses;
  readonly #tokens: Tokens;
  readonly #file: PlatformFile;
  readonly #hostPorts: HostPorts;
  /** Transparent mode only. */
  readonly #view: MeshView | null;
  readonly #log = createLogger("local");
  #controlPlane: ControlPlane | undefined;
  #control: Server | undefined;
  #objects: readonly PlatformObject[];
  #templates: readonly PodTemplate[] = [];
  #pods: Pod[] = [];
  #stopped = false;
  #reconciling: Promise<void> = Promise.resolve();
  #writeQueued = false;
  /** Why the state could not be written the last time. */
  #untold = "";
  readonly #waiters = new Set<() => void>();

  constructor(options: PlatformOptions, chosen: Chosen, tokens: Tokens) {
    this.#options = options;
    this.#chosen = chosen;
    const { network } = chosen;
    this.#hostPorts = new HostPorts(network === null ? dial : (host, port) => network.dial(host, port));
    const sidecars = options.dataPlane !== "none";
    this.#view = network && new MeshView(network, options.stateDir, sidecars, this.#log);
    this.#clock = options.clock ?? systemClock;
    this.#objects = options.objects;
    this.#addresses = new Addresses(join(options.stateDir, "addresses.json"), chosen.mode);
    this.#tokens = tokens;
    this.#file = new PlatformFile(join(options.stateDir, "platform.json"));
  }

  /** Resolves with the reason when the mesh cannot go on: what holds its network ended. */
  get lost(): Promise<string> {
    return this.#chosen.network?.lost ?? new Promise(() => {});
  }

  async begin(templates: readonly PodTemplate[]): Promise<void> {
    await this.#hostPorts.update(this.#objects, () => this.#pods);
    this.#control = await serveControl(join(this.#options.stateDir, "platform.sock"), this.#operations());
    saveSupervisor(this.#options.stateDir, { mode: this.#chosen.mode, reason: this.#chosen.reason });
    this.#writeState();
    if (this.#options.dataPlane !== "none") await this.#startControlPlane();
    this.#templates = templates;
    await this.#reconcile();
  }

  async #startControlPlane(): Promise<void> {
    this.#controlPlane = new ControlPlane({
      stateDir: this.#options.stateDir,
      projectDir: PROJECT,
      tokenKeys: this.#tokens.publicKeyFile,
      config: this.#options.controlPlaneConfig ?? {},
      clock: this.#clock,
      changed: () => {
        const pid = this.#controlPlane?.pid;
        this.#chosen.network?.outside(pid === undefined ? [] : [pid]).catch(() => {});
        this.#changed();
      },
    });
    await this.#controlPlane.start();
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
    const former = this.#reconciling.catch(() => {}); // told to whoever asked for it
    this.#reconciling = former.then(async () => {
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
    if (this.#stopped) return;
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
    const pod: Pod = new Pod({
      name,
      template,
      address,
      network: () => this.#network(pod),
      stateDir: this.#options.stateDir,
      trustDomain: String(this.#options.controlPlaneConfig?.["trustDomain"] ?? "cluster.local"),
      proxyCommand: this.#proxyCommand(),
      projectDir: PROJECT,
      tokens: this.#tokens,
      clock: this.#clock,
      serviceEnv: serviceEnvironment(template.namespace, virtualServices(this.#objects), (key) => {
        const vip = this.#addresses.service(key);
        return this.#chosen.mode === "transparent" ? vip : vip.replace(/^\d+\.\d+/, address.servicePrefix);
      }),
      changed: () => this.#changed(),
      forgotten: () => this.#acknowledged(),
    });
    this.#pods.push(pod);
    this.#writeState();
    return pod;
  }

  #network(pod: Pod): Promise<PodNetwork> {
    return this.#view?.join(pod, this.#names()) ?? Promise.resolve(hostNetwork(pod.address));
  }

  #names(): Names {
    const virtual = new Set(virtualServices(this.#objects).map(serviceKey));
    return {
      objects: this.#objects,
      pods: this.#pods,
      vip: (key) => (virtual.has(key) ? this.#addresses.service(key) : undefined),
    };
  }

  #proxyCommand(): readonly string[] | undefined {
    const kind = this.#options.dataPlane ?? "weft";
    if (kind === "none") return undefined;
    if (kind === "weft") return [process.execPath, ...SIDECAR_FLAGS, join(PROJECT, "sidecar", "main.ts")];
    const agent = [process.execPath, join(PROJECT, "sidecar", "envoy", "main.ts")];
    return this.#options.envoy === undefined ? agent : [...agent, "--envoy", this.#options.envoy];
  }

  async #remove(pod: Pod): Promise<void> {
    if (pod.stopping) return;
    await pod.stop(this.#options.drainMs ?? 500);
    await this.#chosen.network?.remove(pod.name);
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
      this.#tellState();
    });
  }

  /** What changed by itself must not end the mesh where it cannot be written (a full disk): it is tried again. */
  #tellState(): void {
    if (this.#stopped) return;
    try {
      this.#writeState();
      this.#untold = "";
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#untold)
        this.#log.error("the control plane is not told what changed; tried again every second", { error });
      this.#untold = message;
      this.#clock.after(RETRY_MS, () => this.#changed());
    }
  }

  #writeState(): void {
    const vips = new Map<string, string>();
    for (const s of virtualServices(this.#objects)) {
      const key = serviceKey(s);
      vips.set(key, this.#addresses.service(key));
    }
    // Names first: whoever hears of a pod can look it up.
    this.#view?.update(this.#names());
    this.#file.write(platformState(this.#chosen.mode, this.#pods, vips));
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
      this.#tellState();
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

  /** Every proxy has what the platform says now; not longer than is worth waiting for one that does not answer. */
  async #acknowledged(): Promise<void> {
    this.#tellState();
    const deadline = performance.now() + ACKNOWLEDGED_TIMEOUT_MS;
    while (!this.#stopped && performance.now() < deadline && (await this.#unsynced()).length > 0)
      await delay(20);
  }

  /** Pods whose proxy is not connected or has not acknowledged what the control plane has for it now. */
  async #unsynced(): Promise<string[]> {
    if ((this.#options.dataPlane ?? "weft") === "none") return [];
    const wanted = this.#pods.filter((p) => !p.stopping && p.template.inject);
    const synced = (await this.#controlPlane?.synced()) ?? new Set();
    return wanted.filter((p) => !synced.has(p.address.podIp)).map((p) => p.name);
  }

  status(): PlatformStatus {
    const count = (t: PodTemplate): number =>
      this.#pods.filter((p) => p.template.hash === t.hash && p.template.workload === t.workload && p.ready)
        .length;
    return {
      mode: this.#chosen.mode,
      reason: this.#chosen.reason,
      ready: this.#templates.every((t) => count(t) === t.replicas),
      pid: process.pid,
      stateDir: this.#options.stateDir,
      admin: `unix:${join(this.#options.stateDir, "admin.sock")}`,
      hostPorts: this.#hostPorts.open,
      pods: this.#pods.map((p) => ({
        name: p.name,
        namespace: p.template.namespace,
        workload: p.template.workload,
        kind: p.template.ownerKind,
        podIp: p.address.podIp,
        phase: "Running",
        reason: p.stopping ? "Terminating" : "Running",
        ready: p.ready,
        revision: 0,
        started: "",
        admin: p.adminAddress,
        containers: p.processes.map((c) => ({
          name: c.spec.name,
          state: c.state,
          ...(c.pid === undefined ? {} : { pid: c.pid }),
          restarts: c.restarts,
          ...(c.lastExit === undefined ? {} : { lastExit: c.lastExit }),
        })),
      })),
      workloads: this.#templates.map((t) => this.#workloadStatus(t, count(t))),
    };
  }

  #operations(): Operations {
    const later = (): never => {
      throw new OperationError(422, "not with this kind of workload");
    };
    return {
      status: () => this.status(),
      workload: ({ kind, namespace, name }) => {
        const found = this.status().workloads.find(
          (w) => w.kind === kind && w.namespace === namespace && w.name === name,
        );
        if (found === undefined) throw new OperationError(404, `no ${kind} ${namespace}/${name} runs here`);
        return found;
      },
      history: later,
      restart: later,
      pause: later,
      resume: later,
      undo: later,
      scale: later,
      deletePod: later,
    };
  }

  #workloadStatus(template: PodTemplate, readyPods: number): WorkloadStatus {
    const { workload, namespace } = template;
    const mine = this.#pods.filter(({ template: t }) => t.workload === workload && t.namespace === namespace);
    return {
      kind: template.ownerKind,
      namespace,
      name: workload,
      ready: readyPods === template.replicas,
      desired: template.replicas,
      current: mine.length,
      updated: mine.filter((p) => p.template.hash === template.hash).length,
      readyPods,
      available: readyPods,
      revision: 0,
      paused: false,
      conditions: [],
      changed: [],
    };
  }

  /** Stops everything; no process, socket or address of the mesh stays. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#changed();
    this.#hostPorts.close();
    this.#control?.close();
    await Promise.all(this.#pods.map((p) => p.stop(0)));
    await this.#controlPlane?.stop(5_000);
    await this.#chosen.network?.close();
    await sweep(this.#options.stateDir);
    this.#addresses.close();
    rmSync(join(this.#options.stateDir, "supervisor.json"), { force: true });
  }
}
