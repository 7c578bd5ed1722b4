import { mkdirSync, rmSync } from "node:fs";
import type { Server } from "node:http";
import { dirname, join, resolve as resolvePath } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Clock, systemClock } from "#lib/clock.ts";
import { createLogger } from "#lib/log.ts";
import { Addresses, type PodAddress } from "./addresses.ts";
import type { Done, PlatformStatus, PodStatus } from "./contract.ts";
import { ControlPlane } from "./control-plane.ts";
import { type Operations, serveControl } from "./control-socket.ts";
import { refuse } from "./controllers/controller.ts";
import { gatewayProxies, isMade } from "./gateway-proxies.ts";
import { HostPorts } from "./host-ports.ts";
import { type Chosen, chooseMode, type Mode } from "./mode.ts";
import { MeshView } from "./network/mesh-view.ts";
import { endpointsOf, type Names } from "./network/names.ts";
import { dial, hostNetwork, type PodNetwork } from "./network/network.ts";
import { MACHINE_FLAGS } from "./node-process.ts";
import { PlatformError, type PlatformObject } from "./object.ts";
import {
  PlatformFile,
  platformState,
  serviceEnvironment,
  serviceKey,
  virtualServices,
} from "./platform-state.ts";
import { Pod } from "./pod.ts";
import { podMeter } from "./pod-meter.ts";
import { isOver, type OwnedPod, Pods, type PodWish } from "./pods.ts";
import { ReconcileLoop } from "./reconcile-loop.ts";
import { saveSupervisor, sweep, takeOver } from "./supervisor.ts";
import { Tokens } from "./tokens.ts";
import { WorkloadStore } from "./workload-store.ts";
import { Workloads } from "./workloads.ts";

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
  /** How often autoscalers measure. Default 5 s; Kubernetes' 15 s are long for somebody who watches. */
  readonly autoscalePeriodMs?: number;
  readonly clock?: Clock;
  readonly onChange?: () => void;
}

const ACKNOWLEDGED_TIMEOUT_MS = 5_000;
const RETRY_MS = 1_000;
const AUTOSCALE_PERIOD_MS = 5_000;
const PROJECT = dirname(dirname(fileURLToPath(import.meta.url)));

/** Starts the control plane, then every pod; resolves when the processes are started (see `whenReady`). */
export async function startPlatform(given: PlatformOptions): Promise<Platform> {
  const options = {
    ...given,
    objects: withGateways(given.objects),
    stateDir: resolvePath(given.stateDir),
  };
  Workloads.check(options.objects);
  mkdirSync(join(options.stateDir, "pods"), { recursive: true, mode: 0o700 });
  checkSocketPaths(options.stateDir, options.objects);
  await takeOver(options.stateDir);
  const tokens = new Tokens(options.stateDir);
  const platform = new Platform(options, await chooseMode(options.mode ?? "auto", options.stateDir), tokens);
  try {
    await platform.begin();
  } catch (error) {
    await platform.stop();
    throw error;
  }
  return platform;
}

/** Objects, and what runs the Gateways among them. */
function withGateways(objects: readonly PlatformObject[]): readonly PlatformObject[] {
  return [...objects, ...gatewayProxies(objects)];
}

/** sun_path holds 107 bytes and a terminator (unix(7)); found out here, not by each proxy in its log. */
function checkSocketPaths(stateDir: string, objects: readonly PlatformObject[]): void {
  for (const { kind, metadata } of objects) {
    const longest = LONGEST_SUFFIX[kind];
    if (longest === undefined) continue;
    const bytes = Buffer.byteLength(join(stateDir, "pods", `${metadata.name}${longest}`, "admin.sock"));
    if (bytes > 107)
      throw new PlatformError(
        `state directory ${stateDir} is too long for the Unix sockets of ${metadata.name} (${bytes} of 107 bytes): set XDG_STATE_HOME to a shorter path`,
      );
  }
}

/** What a pod's name has beyond its workload's. */
const LONGEST_SUFFIX: Readonly<Record<string, string>> = {
  Pod: "",
  Deployment: "-00",
  ReplicaSet: "-00",
  StatefulSet: "-00",
  DaemonSet: "-0",
  Job: "-00",
  CronJob: "-00000000-00",
};

export class Platform {
  readonly #options: PlatformOptions;
  readonly #chosen: Chosen;
  readonly #clock: Clock;
  readonly #addresses: Addresses;
  readonly #tokens: Tokens;
  readonly #file: PlatformFile;
  readonly #hostPorts: HostPorts;
  readonly #pods: Pods;
  readonly #workloads: Workloads;
  readonly #loop: ReconcileLoop;
  /** Transparent mode only. */
  readonly #view: MeshView | null;
  readonly #log = createLogger("local");
  #controlPlane: ControlPlane | undefined;
  #control: Server | undefined;
  #objects: readonly PlatformObject[];
  #stopped = false;
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
    this.#pods = new Pods({
      addresses: this.#addresses,
      clock: this.#clock,
      log: this.#log,
      drainMs: options.drainMs ?? 500,
      make: (wish, id, address) => this.#makePod(wish, id, address),
      leaveNetwork: async (id) => network?.remove(id),
      changed: () => this.#changed(),
    });
    this.#loop = new ReconcileLoop(this.#clock, () => this.#workloads.reconcile());
    this.#workloads = new Workloads({
      pods: this.#pods,
      store: new WorkloadStore(options.stateDir),
      clock: this.#clock,
      log: this.#log,
      removeClaim: (namespace, claim) =>
        rmSync(join(options.stateDir, "volumes", namespace, claim), { recursive: true, force: true }),
      wakeAfter: (ms) => this.#loop.wakeAfter(ms),
      poke: () => this.#changed(),
      meter: podMeter((service) => this.#podsOf(service)),
      periodMs: options.autoscalePeriodMs ?? AUTOSCALE_PERIOD_MS,
    });
  }

  #podsOf(service: string): OwnedPod[] {
    const found = this.#objects.find((o) => o.kind === "Service" && serviceKey(o) === service);
    const selected = new Set(found === undefined ? [] : endpointsOf(found, this.#pods.pods));
    return this.#pods.all.filter(({ pod }) => selected.has(pod));
  }

  /** Resolves with the reason when the mesh cannot go on: what holds its network ended. */
  get lost(): Promise<string> {
    return this.#chosen.network?.lost ?? new Promise(() => {});
  }

  async begin(): Promise<void> {
    const { stateDir } = this.#options;
    await this.#hostPorts.update(this.#objects, () => this.#pods.pods);
    saveSupervisor(stateDir, { mode: this.#chosen.mode, reason: this.#chosen.reason });
    this.#writeState();
    if (this.#options.dataPlane !== "none") await this.#startControlPlane();
    this.#workloads.update(this.#objects);
    await this.#loop.settled();
    this.#control = await serveControl(join(stateDir, "platform.sock"), this.#operations());
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
  async update(given: readonly PlatformObject[]): Promise<void> {
    const objects = withGateways(given);
    Workloads.check(objects);
    await this.#hostPorts.update(objects, () => this.#pods.pods);
    this.#objects = objects;
    for (const pod of this.#pods.pods) pod.refresh();
    this.#workloads.update(objects);
    this.#tellState();
    await this.#loop.settled();
  }

  #makePod({ name, template }: PodWish, id: string, address: PodAddress): Pod {
    const { mode } = this.#chosen;
    const pod: Pod = new Pod({
      name,
      id,
      template,
      address,
      network: () => this.#network(pod),
      stateDir: this.#options.stateDir,
      trustDomain: String(this.#options.controlPlaneConfig?.["trustDomain"] ?? "cluster.local"),
      proxyCommand: this.#proxyCommand(),
      projectDir: PROJECT,
      tokens: this.#tokens,
      clock: this.#clock,
      serviceEnv: serviceEnvironment(
        template.namespace,
        virtualServices(this.#objects, mode),
        mode === "explicit",
        (key) => {
          const vip = this.#addresses.service(key);
          return mode === "transparent" ? vip : vip.replace(/^\d+\.\d+/, address.servicePrefix);
        },
      ),
      objects: () => this.#objects,
      changed: () => this.#changed(),
      forgotten: () => this.#acknowledged(),
    });
    return pod;
  }

  #network(pod: Pod): Promise<PodNetwork> {
    return this.#view?.join(pod, this.#names()) ?? Promise.resolve(hostNetwork(pod.address));
  }

  #names(): Names {
    const virtual = new Set(virtualServices(this.#objects, this.#chosen.mode).map(serviceKey));
    return {
      objects: this.#objects,
      pods: this.#pods.pods.filter((p) => !isOver(p)),
      vip: (key) => (virtual.has(key) ? this.#addresses.service(key) : undefined),
    };
  }

  #proxyCommand(): readonly string[] | undefined {
    const kind = this.#options.dataPlane ?? "weft";
    if (kind === "none") return undefined;
    if (kind === "weft") return [process.execPath, ...MACHINE_FLAGS, join(PROJECT, "sidecar", "main.ts")];
    const agent = [process.execPath, ...MACHINE_FLAGS, join(PROJECT, "sidecar", "envoy", "main.ts")];
    return this.#options.envoy === undefined ? agent : [...agent, "--envoy", this.#options.envoy];
  }

  #changed(): void {
    this.#pods.observe();
    this.#loop.poke();
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
    for (const s of virtualServices(this.#objects, this.#chosen.mode)) {
      const key = serviceKey(s);
      vips.set(key, this.#addresses.service(key));
    }
    // Names first: whoever hears of a pod can look it up.
    this.#view?.update(this.#names());
    this.#file.write(
      platformState({
        mode: this.#chosen.mode,
        pods: this.#pods.pods,
        vips,
        services: this.#objects.filter(isMade),
      }),
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
      this.#tellState();
      let waiting = await this.#unsynced();
      // Acknowledgements reach the control plane, which tells nobody: it is asked.
      while (waiting.length > 0 && performance.now() < deadline && !this.#stopped) {
        await delay(10);
        waiting = await this.#unsynced();
      }
      if (waiting.length === 0 || this.#stopped) return;
      throw new PlatformError(
        `not ready after ${timeoutMs / 1000} s: configuration not acknowledged by ${waiting.join(", ")}`,
      );
    }
    throw new PlatformError(`not ready after ${timeoutMs / 1000} s:\n${this.#late().join("\n")}`);
  }

  /** One line for each pod that is not ready, and for each workload that is not although its pods are. */
  #late(): string[] {
    const pods = this.#pods.pods.filter((p) => !p.ready && p.phase !== "Succeeded");
    const told = new Set(pods.map(({ template: t }) => `${t.ownerKind}/${t.namespace}/${t.workload}`));
    return [
      ...pods.map(
        (p) => `${p.name}: ${p.message}, logs in ${join(this.#options.stateDir, "pods", p.id, "logs")}`,
      ),
      ...this.#workloads
        .status()
        .filter((w) => !w.ready && !told.has(`${w.kind}/${w.namespace}/${w.name}`))
        .map((w) => {
          const why = w.trouble === "" ? `${w.readyPods} of ${w.desired} pods are ready` : w.trouble;
          return `${w.kind} ${w.namespace}/${w.name}: ${why}`;
        }),
    ];
  }

  /** Every proxy has what the platform says now; not longer than is worth waiting for one that does not answer. */
  async #acknowledged(): Promise<void> {
    this.#tellState();
    const deadline = performance.now() + ACKNOWLEDGED_TIMEOUT_MS;
    // As in whenReady: asked, because nobody tells.
    while (!this.#stopped && performance.now() < deadline && (await this.#unsynced()).length > 0)
      await delay(20);
  }

  /** Pods whose proxy is not connected or has not acknowledged what the control plane has for it now. */
  async #unsynced(): Promise<string[]> {
    if ((this.#options.dataPlane ?? "weft") === "none") return [];
    const wanted = this.#pods.pods.filter((p) => !p.stopping && !isOver(p) && p.template.inject);
    const synced = (await this.#controlPlane?.synced()) ?? new Set();
    return wanted.filter((p) => !synced.has(p.address.podIp)).map((p) => p.name);
  }

  status(): PlatformStatus {
    const workloads = this.#workloads.status();
    return {
      mode: this.#chosen.mode,
      reason: this.#chosen.reason,
      ready: workloads.every((w) => w.ready),
      pid: process.pid,
      stateDir: this.#options.stateDir,
      admin: `unix:${join(this.#options.stateDir, "admin.sock")}`,
      hostPorts: this.#hostPorts.open,
      pods: this.#pods.all.map(podStatus),
      workloads,
    };
  }

  #operations(): Operations {
    const { find, operation } = {
      find: this.#workloads.find.bind(this.#workloads),
      operation: this.#workloads.operation.bind(this.#workloads),
    };
    return {
      status: () => this.status(),
      workload: (ref) => find(ref).status(),
      history: (ref) => operation(ref, "history")(),
      restart: (ref) => operation(ref, "restart")(),
      pause: (ref) => operation(ref, "pause")(),
      resume: (ref) => operation(ref, "resume")(),
      undo: (ref, request) => operation(ref, "undo")(request),
      scale: (ref, { replicas }) => operation(ref, "scale")(replicas),
      deletePod: (namespace, name) => this.#deletePod(namespace, name),
    };
  }

  #deletePod(namespace: string, name: string): Done {
    const found = this.#pods.all.find((p) => p.name === name && p.template.namespace === namespace);
    if (found === undefined) return refuse(404, `no pod ${namespace}/${name} runs here`);
    void this.#pods.remove(found, true);
    return { message: `pod "${name}" deleted`, note: "" };
  }

  /** Stops everything; no process, socket or address of the mesh stays. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#changed();
    this.#hostPorts.close();
    this.#control?.close();
    await this.#loop.stop();
    await this.#pods.stop();
    await this.#controlPlane?.stop(5_000);
    await this.#chosen.network?.close();
    await sweep(this.#options.stateDir);
    this.#addresses.close();
    rmSync(join(this.#options.stateDir, "supervisor.json"), { force: true });
  }
}

function podStatus({ pod, template, revision, created }: OwnedPod): PodStatus {
  return {
    name: pod.name,
    namespace: template.namespace,
    workload: template.workload,
    kind: template.ownerKind,
    podIp: isOver(pod) ? "" : pod.address.podIp,
    phase: pod.phase,
    reason: pod.reason,
    message: pod.message,
    notes: pod.notes,
    node: "local",
    ready: pod.ready,
    revision,
    started: new Date(created).toISOString(),
    admin: pod.adminAddress,
    containers: pod.parts.map(({ name, role, image, ready, enter, process: p }) => ({
      name,
      role,
      image,
      state: p.state,
      ready,
      enter,
      ...(p.pid === undefined ? {} : { pid: p.pid }),
      restarts: p.restarts,
      ...(p.exit === undefined ? {} : { exitCode: p.exit.code, lastExit: p.exit.reason }),
    })),
  };
}
