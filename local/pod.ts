import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Clock } from "#lib/clock.ts";
import { COMPILE_CACHE } from "#lib/compile-cache.ts";
import type { PodAddress } from "./addresses.ts";
import { getText, isReady } from "./admin-socket.ts";
import { MARK } from "./leftovers.ts";
import type { PodNetwork } from "./network/network.ts";
import { watchProbe } from "./probe.ts";
import { KUBERNETES_RESTART, MACHINE_RESTART, Supervised } from "./process.ts";
import { type ContainerSpec, expand, type PodTemplate } from "./spec.ts";
import { TOKEN_REFRESH_MS, type Tokens, writeAtomic } from "./tokens.ts";

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
  readonly changed: () => void;
  /** Resolves when no proxy sends new requests to a pod that left, or after a bounded wait. */
  readonly forgotten: () => Promise<void>;
}

const PROXY_PORT = 15001;
/** How long requests that are under way keep a pod that leaves. */
const IDLE_TIMEOUT_MS = 5_000;

/** One pod: its proxy first, then its containers, then readiness. */
export class Pod {
  readonly #context: PodContext;
  readonly #dir: string;
  readonly #containers = new Map<string, Supervised>();
  readonly #ready = new Map<string, boolean>();
  readonly #cancels: (() => void)[] = [];
  #proxy: Supervised | undefined;
  #proxyReady: boolean;
  #stopping = false;

  constructor(context: PodContext) {
    this.#context = context;
    this.#dir = join(context.stateDir, "pods", context.id);
    this.#proxyReady = context.proxyCommand === undefined;
  }

  get name(): string {
    return this.#context.name;
  }
  get id(): string {
    return this.#context.id;
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
    if (this.#stopping || !this.#proxyReady) return false;
    return this.template.containers.every((c) => this.#ready.get(c.name) === true);
  }
  get processes(): readonly Supervised[] {
    return [...(this.#proxy === undefined ? [] : [this.#proxy]), ...this.#containers.values()];
  }

  async start(): Promise<void> {
    const { template, tokens, proxyCommand } = this.#context;
    mkdirSync(join(this.#dir, "logs"), { recursive: true, mode: 0o700 });
    const tokenFile = join(this.#dir, "token");
    const issue = (): Promise<void> =>
      tokens.write(tokenFile, template.namespace, template.serviceAccount, this.name);
    const [network] = await Promise.all([this.#context.network(), issue()]);
    if (this.#stopping) return;
    const refresh = setInterval(() => void issue().catch(() => {}), TOKEN_REFRESH_MS).unref();
    this.#cancels.push(() => clearInterval(refresh));
    if (proxyCommand !== undefined && template.inject) {
      await this.#startProxy(network, proxyCommand, tokenFile);
    } else {
      this.#proxyReady = true;
    }
    for (const container of template.containers)
      if (!this.#stopping) this.#startContainer(network, container);
    this.#context.changed();
  }

  async #startProxy(network: PodNetwork, command: readonly string[], tokenFile: string): Promise<void> {
    const file = join(this.#dir, "proxy.json");
    writeAtomic(file, JSON.stringify(this.#proxyConfig(tokenFile), undefined, 1));
    this.#proxy = new Supervised(
      {
        name: "istio-proxy",
        command: network.enter([...command, "--config", file], this.#context.projectDir),
        cwd: this.#context.projectDir,
        env: { ...this.#baseEnv(), NODE_COMPILE_CACHE: COMPILE_CACHE },
        logFile: join(this.#dir, "logs", "istio-proxy.log"),
        ...MACHINE_RESTART,
      },
      this.#context.clock,
      () => {
        if (this.#proxy?.state !== "running") this.#setProxyReady(false);
        this.#context.changed();
      },
    );
    this.#proxy.start();
    const socketPath = join(this.#dir, "admin.sock");
    const first = new Promise<void>((resolve) => {
      const watch = async (): Promise<void> => {
        while (!this.#stopping) {
          const ok = this.#proxy?.state === "running" && (await isReady(socketPath));
          this.#setProxyReady(ok);
          if (ok) resolve();
          await delay(ok ? 1_000 : 50, undefined, { ref: false });
        }
        resolve();
      };
      void watch();
    });
    // As holdApplicationUntilProxyStarts: an app that calls others at its start must find its proxy.
    await first;
  }

  #setProxyReady(ready: boolean): void {
    if (ready === this.#proxyReady) return;
    this.#proxyReady = ready;
    this.#context.changed();
  }

  #proxyConfig(tokenFile: string): object {
    const { template, address, stateDir, trustDomain } = this.#context;
    const type = template.gateway ? "router" : "sidecar";
    const ns = template.namespace;
    const app = template.labels["app"] ?? template.workload;
    const explicit = address.servicePrefix !== "";
    return {
      node: {
        id: `${type}~${address.podIp}~${this.name}.${ns}~${ns}.svc.cluster.local`,
        cluster: `${app}.${ns}`,
        metadata: {
          NAMESPACE: ns,
          CLUSTER_ID: "Kubernetes",
          INSTANCE_IPS: address.podIp,
          LABELS: { ...template.labels },
          SERVICE_ACCOUNT: template.serviceAccount,
          WORKLOAD_NAME: template.workload,
          POD_NAME: this.name,
          ISTIO_VERSION: "1.31.0",
          MESH_ID: trustDomain,
          INTERCEPTION_MODE: explicit ? "NONE" : "REDIRECT",
          PROXY_CONFIG: template.proxyConfig,
        },
        locality: {},
      },
      discovery: { address: `unix:${join(stateDir, "xds.sock")}`, tokenFile },
      trustDomain,
      admin: this.adminAddress,
      sds: `unix:${join(this.#dir, "sds.sock")}`,
      prometheus: explicit ? `${address.podIp}:15090` : "0.0.0.0:15090",
      logLevel: "info",
      drainSeconds: 5,
    };
  }

  #baseEnv(): Record<string, string> {
    const inherited = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "XDG_CACHE_HOME", "NODE_EXTRA_CA_CERTS"];
    const env: Record<string, string> = { [MARK]: this.#context.stateDir };
    for (const name of inherited) if (process.env[name] !== undefined) env[name] = process.env[name];
    return env;
  }

  #containerEnv(container: ContainerSpec): Record<string, string> {
    const { address, template, serviceEnv } = this.#context;
    const appIp = address.servicePrefix === "" ? address.podIp : address.appIp;
    const env: Record<string, string> = {
      ...this.#baseEnv(),
      ...serviceEnv,
      HOSTNAME: this.name,
      POD_IP: appIp,
      WEFT_OTLP_SOCKET: join(this.#context.stateDir, "otlp.sock"),
    };
    if (address.servicePrefix !== "" && template.inject) {
      const proxy = `http://${address.servicePrefix}.0.1:${PROXY_PORT}`;
      // Node reads ranges, others read CIDR: both say "not for loopback".
      const direct = "localhost,127.0.0.0/8,127.0.0.1-127.255.255.255";
      Object.assign(env, {
        HTTP_PROXY: proxy,
        http_proxy: proxy,
        NO_PROXY: direct,
        no_proxy: direct,
        NODE_USE_ENV_PROXY: "1",
      });
    }
    const fields: Record<string, string> = {
      "status.podIP": appIp,
      "metadata.name": this.name,
      "metadata.namespace": template.namespace,
      "spec.serviceAccountName": template.serviceAccount,
      "spec.nodeName": "local",
    };
    for (const { name, from } of container.env) {
      if ("value" in from) env[name] = expand(from.value, env);
      else {
        const label = /^metadata\.labels\['(.+)'\]$/.exec(from.fieldPath)?.[1];
        env[name] = fields[from.fieldPath] ?? template.labels[label ?? ""] ?? "";
      }
    }
    return env;
  }

  #startContainer(network: PodNetwork, container: ContainerSpec): void {
    const env = this.#containerEnv(container);
    const command = container.command.map((word) => expand(word, env));
    // The Node that runs the mesh also runs the examples: the right version comes as a dependency.
    if (command[0] === "node") command[0] = process.execPath;
    const target = { network, env, cwd: container.cwd };
    let probes: (() => void)[] = [];
    let watched: number | undefined;
    const stopProbes = (): void => {
      for (const cancel of probes) cancel();
      probes = [];
    };
    const setReady = (ready: boolean): void => {
      if (this.#ready.get(container.name) === ready) return;
      this.#ready.set(container.name, ready);
      this.#context.changed();
    };
    const watchMain = (): void => {
      if (container.readiness === undefined) setReady(true);
      else probes.push(watchProbe(container.readiness, target, setReady, true));
      if (container.liveness !== undefined)
        probes.push(
          watchProbe(
            container.liveness,
            target,
            (ok, why) => ok || supervised.kill(`liveness probe: ${why}`),
            false,
          ),
        );
    };
    const supervised = new Supervised(
      {
        name: container.name,
        command: network.enter(command, container.cwd),
        cwd: container.cwd,
        env,
        logFile: join(this.#dir, "logs", `${container.name}.log`),
        ...KUBERNETES_RESTART,
      },
      this.#context.clock,
      () => {
        if (supervised.state === "running" && supervised.pid !== watched) {
          watched = supervised.pid;
          stopProbes();
          if (container.startup === undefined) watchMain();
          else
            probes.push(
              watchProbe(
                container.startup,
                target,
                (ok, why) => (ok ? watchMain() : supervised.kill(`startup probe: ${why}`)),
                true,
              ),
            );
        } else if (supervised.state !== "running") {
          stopProbes();
          setReady(false);
        }
        this.#context.changed();
      },
    );
    this.#containers.set(container.name, supervised);
    this.#cancels.push(stopProbes);
    supervised.start();
  }

  /** Leaves the endpoints first, answers what is under way (at least `drainMs`), then the app ends, then its proxy; files go last. */
  async stop(drainMs: number): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    for (const cancel of this.#cancels) cancel();
    this.#context.changed();
    if (drainMs > 0) {
      await this.#context.forgotten();
      await delay(drainMs);
      await this.#idle();
    }
    const grace = this.template.graceSeconds * 1000;
    await Promise.all([...this.#containers.values()].map((c) => c.stop(grace)));
    await this.#proxy?.stop(10_000);
    for (const file of ["admin.sock", "sds.sock", "token"]) rmSync(join(this.#dir, file), { force: true });
  }

  /** Both proxies count what they forward to the app; a request may have come after one look, hence two. */
  async #idle(): Promise<void> {
    if (this.#proxy?.state !== "running") return;
    const deadline = performance.now() + IDLE_TIMEOUT_MS;
    const socket = join(this.#dir, "admin.sock");
    for (let quiet = 0; quiet < 2 && performance.now() < deadline; await delay(20)) {
      const text = await getText(socket, "/stats?filter=inbound.*upstream_rq_active");
      if (text === null) return;
      quiet = /: [1-9]/.test(text) ? 0 : quiet + 1;
    }
  }
}
