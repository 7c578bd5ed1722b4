import { randomUUID } from "node:crypto";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Clock } from "#lib/clock.ts";
import { createLogger } from "#lib/log.ts";
import type { PodAddress } from "./addresses.ts";
import { getText } from "./admin-socket.ts";
import { Container, type ContainerRole } from "./container.ts";
import type { ContainerSpec } from "./container-spec.ts";
import type { PodPhase } from "./contract.ts";
import { MARK } from "./leftovers.ts";
import type { PodNetwork } from "./network/network.ts";
import type { PlatformObject } from "./object.ts";
import { inheritedEnv } from "./pod-env.ts";
import { PodProxy } from "./pod-proxy.ts";
import { Sandbox } from "./pod-sandbox.ts";
import { type PodState, summarize } from "./pod-state.ts";
import type { Supervised } from "./process.ts";
import type { PodTemplate } from "./spec.ts";
import { TOKEN_REFRESH_MS, type Tokens } from "./tokens.ts";
import { MissingError } from "./volumes/data.ts";

export interface PodContext {
  readonly name: string;
  /** What its folder and its network are called: the name, unless a pod of another namespace has the same. */
  readonly id: string;
  readonly template: PodTemplate;
  readonly address: PodAddress;
  /** Made when the pod starts. */
  readonly network: () => Promise<PodNetwork>;
  readonly stateDir: string;
  readonly trustDomain: string;
  /** [program, arguments] of the proxy without its config; undefined: no proxy (tests, dataPlane "none"). */
  readonly proxyCommand: readonly string[] | undefined;
  readonly projectDir: string;
  readonly tokens: Tokens;
  readonly clock: Clock;
  readonly serviceEnv: Readonly<Record<string, string>>;
  /** All objects as they are now: ConfigMaps and Secrets are read from them. */
  readonly objects?: () => readonly PlatformObject[];
  readonly changed: () => void;
  /** Resolves when no proxy sends new requests to a pod that left, or after a bounded wait. */
  readonly forgotten: () => Promise<void>;
}

export interface PodPart {
  readonly name: string;
  readonly role: "proxy" | ContainerRole;
  readonly image: string;
  readonly ready: boolean;
  readonly process: Supervised;
  /** Stands before a command that is to run beside it. */
  readonly enter: readonly string[];
}

/** How long requests that are under way keep a pod that leaves. */
const IDLE_TIMEOUT_MS = 5_000;
const TOKEN_RETRY_MS = 5_000;
const PROXY_GRACE_MS = 10_000;

/** One pod: its proxy first, then its init containers, then its containers; what is awaited is said. */
export class Pod {
  readonly #context: PodContext;
  readonly #dir: string;
  readonly #uid = randomUUID();
  readonly #proxy: PodProxy | undefined;
  readonly #containers: Container[] = [];
  readonly #cancels: (() => void)[] = [];
  readonly #waiters = new Set<() => void>();
  readonly #notes = new Set<string>();
  readonly #log = createLogger("local");
  readonly #sandbox: Sandbox;
  #stopping = false;
  #begun = false;
  /** The containers have been started: no longer Pending. */
  #running = false;
  /** Why it ended although its containers did not end by themselves. */
  #failure: { readonly reason: string; readonly message: string } | undefined;
  #ended: "Succeeded" | "Failed" | undefined;
  /** What the pod as a whole waits for. */
  #awaits = "";

  constructor(context: PodContext) {
    this.#context = context;
    this.#dir = join(context.stateDir, "pods", context.id);
    const { proxyCommand, template } = context;
    if (proxyCommand !== undefined && template.inject)
      this.#proxy = new PodProxy({
        ...context,
        command: proxyCommand,
        dir: this.#dir,
        env: { ...inheritedEnv(), [MARK]: context.stateDir },
        changed: () => this.#changed(),
      });
    this.#sandbox = new Sandbox({
      ...context,
      dir: this.#dir,
      uid: this.#uid,
      note: (note) => this.#note(note),
    });
  }

  get name(): string {
    return this.#context.name;
  }
  get id(): string {
    return this.#context.id;
  }
  get uid(): string {
    return this.#uid;
  }
  get template(): PodTemplate {
    return this.#context.template;
  }
  get address(): PodAddress {
    return this.#context.address;
  }
  /** Where others reach its ports. */
  get frontIp(): string {
    const { address, proxyCommand, template } = this.#context;
    const appAlone = address.servicePrefix !== "" && (proxyCommand === undefined || !template.inject);
    return appAlone ? address.appIp : address.podIp;
  }
  get stopping(): boolean {
    return this.#stopping;
  }
  get adminAddress(): string {
    return `unix:${join(this.#dir, "admin.sock")}`;
  }
  get ready(): boolean {
    return this.#state().ready;
  }
  get phase(): PodPhase {
    return this.#state().phase;
  }
  /** Kubernetes' word for where it stands: Running, Completed, CrashLoopBackOff, Init:0/1, CreateContainerConfigError ... */
  get reason(): string {
    return this.#state().reason;
  }
  /** In words, why it is not ready; "" = it is. */
  get message(): string {
    return this.#state().message;
  }
  /** For people, each once: what works, but not as was meant. */
  get notes(): readonly string[] {
    const hints = this.#containers.flatMap((c) =>
      c.hint === undefined ? [] : [`${c.spec.name}: ${c.hint}`],
    );
    return [...new Set([...this.#notes, ...hints])];
  }
  get containers(): readonly Container[] {
    return this.#containers;
  }
  /** Its processes, the proxy first, each with what a status shows of it. */
  get parts(): readonly PodPart[] {
    const proxy = this.#proxy;
    return [
      ...(proxy === undefined
        ? []
        : [
            {
              name: "istio-proxy",
              role: "proxy" as const,
              image: "",
              ready: proxy.ready,
              process: proxy.process,
              enter: this.#sandbox.network?.enter([], this.#context.projectDir) ?? [],
            },
          ]),
      ...this.#containers.map((c) => ({
        name: c.spec.name,
        role: c.role,
        image: c.spec.image,
        ready: c.role === "init" ? c.done : c.ready,
        process: c.process,
        enter: this.#sandbox.enter(c.spec, c.process.pid),
      })),
    ];
  }
  get processes(): readonly Supervised[] {
    return [
      ...(this.#proxy === undefined ? [] : [this.#proxy.process]),
      ...this.#containers.map((c) => c.process),
    ];
  }

  #state(): PodState {
    return summarize({
      template: this.template,
      begun: this.#begun,
      running: this.#running,
      stopping: this.#stopping,
      ended: this.#ended,
      failure: this.#failure,
      awaits: this.#awaits,
      proxyReady: this.#proxy === undefined || this.#proxy.ready,
      proxy: this.#proxy?.process,
      containers: this.#containers,
    });
  }

  /** Resolves when its network stands and its proxy is started; the containers follow by themselves. */
  async start(): Promise<void> {
    const { template, tokens } = this.#context;
    mkdirSync(join(this.#dir, "logs"), { recursive: true, mode: 0o700 });
    const issue = (): Promise<void> =>
      tokens.write(join(this.#dir, "token"), template.namespace, template.serviceAccount, this.name);
    const [network] = await Promise.all([this.#context.network(), issue()]);
    if (this.#stopping) return;
    this.#begun = true;
    this.#refreshToken(issue, TOKEN_REFRESH_MS);
    await this.#sandbox.open(network);
    if (this.#stopping) return;
    this.#proxy?.start(network);
    this.#changed();
    this.#live().catch((error: unknown) => this.#fail("Error", (error as Error).message));
  }

  /** Well before the old one ends, and again soon when it could not be written: without it the proxy is locked out. */
  #refreshToken(issue: () => Promise<void>, waitMs: number): void {
    const cancel = this.#context.clock.after(waitMs, () => {
      if (this.#stopping) return;
      issue().then(
        () => this.#refreshToken(issue, TOKEN_REFRESH_MS),
        (error: unknown) => {
          this.#log.error("the pod's token could not be renewed; tried again", { pod: this.name, error });
          this.#refreshToken(issue, TOKEN_RETRY_MS);
        },
      );
    });
    this.#cancels.push(cancel);
  }

  /** From its proxy to its end. */
  async #live(): Promise<void> {
    const { template, clock } = this.#context;
    // As holdApplicationUntilProxyStarts: an app that calls others at its start must find its proxy.
    await this.#until(() => this.#proxy === undefined || this.#proxy.ready);
    if (this.#over) return;
    await this.#prepareVolumes();
    if (template.activeDeadlineSeconds !== undefined)
      this.#cancels.push(
        clock.after(template.activeDeadlineSeconds * 1000, () => {
          this.#fail(
            "DeadlineExceeded",
            `it ran longer than activeDeadlineSeconds, ${template.activeDeadlineSeconds} s`,
          );
        }),
      );
    for (const spec of template.initContainers) {
      if (this.#over) return;
      const container = this.#make(spec, spec.sidecar ? "sidecar" : "init");
      container.start();
      await this.#until(() => (spec.sidecar ? container.started : container.done));
      if (this.#over) return;
      if (!spec.sidecar && container.process.exit?.code !== 0)
        return this.#fail("Error", `init container ${spec.name} failed: ${container.process.lastExit}`);
    }
    if (this.#over) return;
    const mains = template.containers.map((spec) => this.#make(spec, "main"));
    for (const container of mains) container.start();
    this.#running = true;
    this.#changed();
    // A gateway is its proxy: it never completes.
    await this.#until(() => mains.length > 0 && mains.every((c) => c.done));
    if (this.#over) return;
    await this.#end(mains.every((c) => c.process.exit?.code === 0) ? "Succeeded" : "Failed");
  }

  get #over(): boolean {
    return this.#stopping || this.#ended !== undefined;
  }

  /** Volumes whose ConfigMap or Secret is not there yet hold the pod, as with a kubelet. */
  async #prepareVolumes(): Promise<void> {
    for (;;) {
      try {
        this.#sandbox.volumes.prepare();
        this.#awaits = "";
        return;
      } catch (error) {
        if (!(error instanceof MissingError)) throw error;
        this.#awaits = error.message;
        this.#changed();
      }
      let refreshed = false;
      const cancel = this.#context.clock.after(1_000, () => {
        refreshed = true;
        this.#changed();
      });
      await this.#until(() => refreshed);
      cancel();
      if (this.#over) return;
    }
  }

  /** The objects changed: files of volumes follow, and what waited for one of them begins. */
  refresh(): void {
    if (this.#over || !this.#begun) return;
    this.#sandbox.volumes.refresh();
    for (const container of this.#containers) container.process.retry();
  }

  /** Also when the pod is over. */
  #until(condition: () => boolean): Promise<void> {
    if (condition() || this.#over) return Promise.resolve();
    return new Promise((resolve) => {
      const look = (): void => {
        if (!condition() && !this.#over) return;
        this.#waiters.delete(look);
        resolve();
      };
      this.#waiters.add(look);
    });
  }

  #changed(): void {
    for (const look of [...this.#waiters]) look();
    this.#context.changed();
  }

  #fail(reason: string, message: string): void {
    if (this.#over) return;
    this.#failure = { reason, message };
    void this.#end("Failed");
  }

  /** What still runs of a pod that is done goes too: containers, then sidecars, then the proxy. */
  async #end(phase: "Succeeded" | "Failed"): Promise<void> {
    this.#ended = phase;
    this.#changed();
    await this.#stopProcesses(this.template.graceSeconds * 1000);
    this.#sandbox.volumes.remove();
    this.#changed();
  }

  #make(spec: ContainerSpec, role: ContainerRole): Container {
    const { template, clock, address } = this.#context;
    const explicit = address.servicePrefix !== "";
    const container: Container = new Container(spec, role, template.restartPolicy, {
      clock,
      logFile: join(this.#dir, "logs", `${spec.name}.log`),
      graceSeconds: template.graceSeconds,
      cwd: this.#sandbox.mounts(spec) ? "/" : spec.cwd,
      launch: () => this.#sandbox.launch(spec),
      outOfMemory: () => this.#sandbox.wasOutOfMemory(spec),
      target: {
        network: this.#sandbox.network!,
        address: this.#sandbox.appIp,
        exec: (command, timeoutMs) => this.#sandbox.exec(spec, container.process.pid, command, timeoutMs),
      },
      listens:
        explicit && template.inject && this.#proxy !== undefined
          ? { appIp: address.appIp, ports: template.ports.map((p) => p.containerPort) }
          : undefined,
      changed: () => this.#changed(),
      warn: (note) => this.#note(note),
    });
    this.#containers.push(container);
    return container;
  }

  #note(note: string): void {
    if (this.#notes.has(note)) return;
    this.#notes.add(note);
    this.#log.warn(note, { pod: this.name });
    this.#changed();
  }

  async #stopProcesses(graceMs: number): Promise<void> {
    const running = (role: ContainerRole): Container[] => this.#containers.filter((c) => c.role === role);
    const deadline = this.#context.clock.monotonic() + graceMs;
    const left = (): number => Math.max(0, deadline - this.#context.clock.monotonic());
    await Promise.all([...running("main"), ...running("init")].map((c) => c.stop(graceMs)));
    // As Kubernetes ends native sidecars: the last one first.
    for (const sidecar of running("sidecar").reverse()) await sidecar.stop(left());
    await this.#proxy?.stop(PROXY_GRACE_MS);
    this.#sandbox.freeLimits();
  }

  /** Leaves the endpoints first, answers what is under way (at least `drainMs`), then the app ends, then its proxy; files go last. */
  async stop(drainMs: number): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    for (const cancel of this.#cancels) cancel();
    this.#changed();
    if (drainMs > 0 && this.#ended === undefined) {
      await this.#context.forgotten();
      await delay(drainMs);
      await this.#idle();
    }
    await this.#stopProcesses(this.template.graceSeconds * 1000);
    this.#sandbox.volumes.remove();
    for (const file of ["admin.sock", "sds.sock", "token", "mounts"])
      rmSync(join(this.#dir, file), { recursive: true, force: true });
  }

  /** Both proxies count what they forward to the app; a request may have come after one look, hence two. */
  async #idle(): Promise<void> {
    if (this.#proxy?.process.state !== "running") return;
    const deadline = performance.now() + IDLE_TIMEOUT_MS;
    const socket = join(this.#dir, "admin.sock");
    // Proxies tell nobody when their last request ends: they are asked.
    for (let quiet = 0; quiet < 2 && performance.now() < deadline; await delay(20)) {
      const text = await getText(socket, "/stats?filter=inbound.*upstream_rq_active");
      if (text === null) return;
      quiet = /: [1-9]/.test(text) ? 0 : quiet + 1;
    }
  }
}
