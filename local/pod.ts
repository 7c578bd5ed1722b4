import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Clock } from "#lib/clock.ts";
import { createLogger } from "#lib/log.ts";
import type { PodAddress } from "./addresses.ts";
import { getText } from "./admin-socket.ts";
import { type Cgroup, limited, makeCgroup } from "./cgroup.ts";
import { Container, type ContainerRole } from "./container.ts";
import { type ContainerSpec, expand } from "./container-spec.ts";
import type { PodPhase } from "./contract.ts";
import { MARK } from "./leftovers.ts";
import type { PodNetwork } from "./network/network.ts";
import { searchPath } from "./network/obstacle.ts";
import { NODE_IP } from "./network/rules.ts";
import type { PlatformObject } from "./object.ts";
import { containerEnv, inheritedEnv } from "./pod-env.ts";
import { PodProxy } from "./pod-proxy.ts";
import { type PodState, summarize } from "./pod-state.ts";
import { run } from "./probe-actions.ts";
import type { Launch, Supervised } from "./process.ts";
import type { PodTemplate } from "./spec.ts";
import { TOKEN_REFRESH_MS, type Tokens } from "./tokens.ts";
import { MissingError, type PodFields } from "./volumes/data.ts";
import { entered, findMounter, type Mounter, mounted } from "./volumes/mounts.ts";
import { Volumes } from "./volumes/volumes.ts";

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

const PROXY_PORT = 15001;
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
  readonly #cgroups = new Map<string, Cgroup>();
  readonly #cancels: (() => void)[] = [];
  readonly #waiters = new Set<() => void>();
  readonly #notes = new Set<string>();
  readonly #log = createLogger("local");
  readonly #volumes: Volumes;
  #network: PodNetwork | undefined;
  #mounter: Mounter = null;
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
    this.#volumes = new Volumes(template.volumes, {
      dir: join(this.#dir, "volumes"),
      claimsDir: join(context.stateDir, "volumes"),
      pod: this.#fields(),
      objects: () => context.objects?.() ?? [],
      token: () => readFileSync(join(this.#dir, "token"), "utf8"),
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
              enter: this.#network?.enter([], this.#context.projectDir) ?? [],
            },
          ]),
      ...this.#containers.map((c) => ({
        name: c.spec.name,
        role: c.role,
        image: c.spec.image,
        ready: c.role === "init" ? c.done : c.ready,
        process: c.process,
        enter: this.#enter(c),
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
    this.#network = network;
    this.#begun = true;
    this.#refreshToken(issue, TOKEN_REFRESH_MS);
    if (this.#all().some((c) => c.mounts.length > 0)) this.#mounter = await findMounter(network, process.env);
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
        this.#volumes.prepare();
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
    this.#volumes.refresh();
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
    this.#volumes.remove();
    this.#changed();
  }

  #all(): readonly ContainerSpec[] {
    return [...this.template.initContainers, ...this.template.containers];
  }

  #make(spec: ContainerSpec, role: ContainerRole): Container {
    const { template, clock, address } = this.#context;
    const explicit = address.servicePrefix !== "";
    const container: Container = new Container(spec, role, template.restartPolicy, {
      clock,
      logFile: join(this.#dir, "logs", `${spec.name}.log`),
      graceSeconds: template.graceSeconds,
      cwd: this.#mounts(spec) ? "/" : spec.cwd,
      launch: () => this.#launch(spec),
      outOfMemory: () => this.#cgroups.get(spec.name)?.wasOutOfMemory() ?? false,
      target: {
        network: this.#network!,
        address: this.#appIp,
        exec: (command, timeoutMs) => this.#exec(container, command, timeoutMs),
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

  #mounts(spec: ContainerSpec): boolean {
    return spec.mounts.length > 0 && this.#mounter !== null;
  }

  /** Throws MissingError when something is awaited. */
  #launch(spec: ContainerSpec): Launch {
    const env = this.#env(spec);
    const words = spec.command.map((word) => expand(word, env));
    const binds = spec.mounts.map((m) => ({
      target: join("/", m.mountPath),
      source: this.#source(m, env),
      readOnly: m.readOnly,
    }));
    const mounts = this.#mounts(spec);
    if (!mounts) this.#notePlaces(spec);
    const group = this.#limits(spec);
    const here = this.#network!.enter([], "/").length === 0;
    if (here && !mounts && group === undefined) return { command: words, env };
    let command = withPath(env, words);
    if (mounts)
      command = mounted(this.#mounter!, binds, join(this.#dir, "mounts", spec.name), command, spec.cwd);
    command = this.#network!.enter(command, mounts ? "/" : spec.cwd);
    return { command: group === undefined ? command : limited(group, command), env: toolsEnv(env) };
  }

  #notePlaces({ name, mounts }: ContainerSpec): void {
    for (const { volume, mountPath } of mounts)
      this.#note(
        `${name}: this machine gives no mount namespace, so volume "${volume}" is not at ${mountPath} but at $${volumeVariable(volume)}`,
      );
  }

  #limits(spec: ContainerSpec): Cgroup | undefined {
    if (spec.limits.cpu === undefined && spec.limits.memory === undefined) return undefined;
    const known = this.#cgroups.get(spec.name);
    if (known !== undefined) return known;
    const group = makeCgroup(`weft-${this.#uid.slice(0, 8)}-${spec.name}`, spec.limits);
    if ("obstacle" in group) {
      this.#note(`${spec.name}: resources.limits are not carried out: ${group.obstacle}`);
      return undefined;
    }
    this.#cgroups.set(spec.name, group);
    return group;
  }

  #source(
    { volume, subPath, expands }: ContainerSpec["mounts"][number],
    env: Readonly<Record<string, string>>,
  ): string {
    return this.#volumes.source(volume, expands ? expand(subPath, env) : subPath);
  }

  /** What stands before a command that is to run in a container: its namespaces and folder. */
  #enter(container: Container): readonly string[] {
    const { spec, process: main } = container;
    if (this.#network === undefined) return [];
    if (this.#mounter !== null && spec.mounts.length > 0 && main.pid !== undefined)
      return this.#network.enter(entered(this.#mounter, main.pid, [], spec.cwd), "/");
    return this.#network.enter([], spec.cwd);
  }

  #exec(
    container: Container,
    command: readonly string[],
    timeoutMs: number,
  ): Promise<{ code: number; said: string }> {
    try {
      const enter = this.#enter(container);
      const cwd = enter.length === 0 ? container.spec.cwd : "/";
      const env = this.#env(container.spec);
      if (enter.length === 0) return run(command, cwd, env, timeoutMs);
      return run([...enter, ...withPath(env, command)], cwd, toolsEnv(env), timeoutMs);
    } catch (error) {
      return Promise.resolve({ code: 126, said: (error as Error).message });
    }
  }

  get #appIp(): string {
    const { address } = this.#context;
    return address.servicePrefix === "" ? address.podIp : address.appIp;
  }

  #fields(): PodFields {
    const { template, address } = this.#context;
    return {
      name: this.name,
      namespace: template.namespace,
      uid: this.#uid,
      serviceAccount: template.serviceAccount,
      podIp: this.#appIp,
      hostIp: address.servicePrefix === "" ? NODE_IP : "127.0.0.1",
      labels: template.labels,
      annotations: template.annotations,
      containers: this.#all(),
      machine: { cpu: availableParallelism(), memory: totalmem() },
    };
  }

  #env(container: ContainerSpec): Record<string, string> {
    const { address, template, serviceEnv, stateDir, objects } = this.#context;
    const base: Record<string, string> = {
      ...inheritedEnv(),
      [MARK]: stateDir,
      ...serviceEnv,
      HOSTNAME: template.hostname ?? this.name,
      POD_IP: this.#appIp,
      WEFT_OTLP_SOCKET: join(stateDir, "otlp.sock"),
    };
    if (address.servicePrefix !== "") {
      // What many frameworks listen on; elsewhere the port is the proxy's.
      base["HOST"] = this.#appIp;
      if (template.inject) Object.assign(base, proxyEnv(`http://${address.servicePrefix}.0.1:${PROXY_PORT}`));
    }
    for (const { volume, subPath, expands, mountPath } of container.mounts)
      base[volumeVariable(volume)] ??=
        this.#mounter !== null ? mountPath : this.#volumes.source(volume, expands ? "" : subPath);
    return containerEnv(container, { pod: this.#fields(), objects: objects?.() ?? [], base });
  }

  async #stopProcesses(graceMs: number): Promise<void> {
    const running = (role: ContainerRole): Container[] => this.#containers.filter((c) => c.role === role);
    const deadline = this.#context.clock.monotonic() + graceMs;
    const left = (): number => Math.max(0, deadline - this.#context.clock.monotonic());
    await Promise.all([...running("main"), ...running("init")].map((c) => c.stop(graceMs)));
    // As Kubernetes ends native sidecars: the last one first.
    for (const sidecar of running("sidecar").reverse()) await sidecar.stop(left());
    await this.#proxy?.stop(PROXY_GRACE_MS);
    for (const group of this.#cgroups.values()) group.remove();
    this.#cgroups.clear();
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
    this.#volumes.remove();
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

/** Found on the container's own PATH, whatever PATH our tools before it need. */
function withPath(env: Readonly<Record<string, string>>, command: readonly string[]): readonly string[] {
  const path = env["PATH"];
  return ["env", ...(path === undefined ? ["-u", "PATH"] : [`PATH=${path}`]), ...command];
}

/** For nsenter, unshare, mount, chroot and env. */
function toolsEnv(env: Readonly<Record<string, string>>): Record<string, string> {
  return { ...env, PATH: searchPath(process.env["PATH"] ?? "") };
}

/** `app-config` -> WEFT_VOLUME_APP_CONFIG */
function volumeVariable(volume: string): string {
  return `WEFT_VOLUME_${volume.toUpperCase().replaceAll("-", "_")}`;
}

function proxyEnv(proxy: string): Record<string, string> {
  // Node reads ranges, others read CIDR: both say "not for loopback".
  const direct = "localhost,127.0.0.0/8,127.0.0.1-127.255.255.255";
  return {
    HTTP_PROXY: proxy,
    http_proxy: proxy,
    NO_PROXY: direct,
    no_proxy: direct,
    NODE_USE_ENV_PROXY: "1",
  };
}
