/** The proxy of one pod: its configuration, its process, and whether it is ready. */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Clock } from "#lib/clock.ts";
import { COMPILE_CACHE } from "#lib/compile-cache.ts";
import type { PodAddress } from "./addresses.ts";
import { isReady } from "./admin-socket.ts";
import type { PodNetwork } from "./network/network.ts";
import { MACHINE_RESTART, Supervised } from "./process.ts";
import type { PodTemplate } from "./spec.ts";
import { writeAtomic } from "./tokens.ts";

export interface PodProxyOptions {
  readonly name: string;
  readonly template: PodTemplate;
  readonly address: PodAddress;
  /** The pod's folder. */
  readonly dir: string;
  readonly stateDir: string;
  readonly trustDomain: string;
  readonly projectDir: string;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly clock: Clock;
  readonly changed: () => void;
}

/** How often a proxy is asked whether it is ready: it tells nobody by itself. Until it is, somebody waits for it. */
const READY_EVERY_MS = 1_000;
const AT_START_EVERY_MS = 50;

export class PodProxy {
  readonly process: Supervised;
  readonly #options: PodProxyOptions;
  readonly #configFile: string;
  #network: PodNetwork | undefined;
  #ready = false;
  #stopped = false;

  constructor(options: PodProxyOptions) {
    this.#options = options;
    this.#configFile = join(options.dir, "proxy.json");
    this.process = new Supervised(
      {
        name: "istio-proxy",
        command: options.command,
        cwd: options.projectDir,
        env: options.env,
        launch: () => ({
          command: this.#network!.enter(
            [...options.command, "--config", this.#configFile],
            options.projectDir,
          ),
          env: { ...options.env, NODE_COMPILE_CACHE: COMPILE_CACHE },
        }),
        logFile: join(options.dir, "logs", "istio-proxy.log"),
        ...MACHINE_RESTART,
      },
      options.clock,
      () => {
        if (this.process.state !== "running") this.#setReady(false);
        options.changed();
      },
    );
  }

  get ready(): boolean {
    return this.#ready;
  }

  start(network: PodNetwork): void {
    this.#network = network;
    writeAtomic(this.#configFile, JSON.stringify(this.#config(), undefined, 1));
    this.process.start();
    void this.#watch();
  }

  async #watch(): Promise<void> {
    const socket = join(this.#options.dir, "admin.sock");
    while (!this.#stopped) {
      const ok = this.process.state === "running" && (await isReady(socket));
      if (this.#stopped) return;
      this.#setReady(ok);
      await delay(ok ? READY_EVERY_MS : AT_START_EVERY_MS, undefined, { ref: false });
    }
  }

  #setReady(ready: boolean): void {
    if (ready === this.#ready) return;
    this.#ready = ready;
    this.#options.changed();
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopped = true;
    await this.process.stop(graceMs);
    this.#ready = false;
  }

  #config(): object {
    const { name, template, address, dir, stateDir, trustDomain } = this.#options;
    const type = template.gateway ? "router" : "sidecar";
    const ns = template.namespace;
    const app = template.labels["app"] ?? template.workload;
    const explicit = address.servicePrefix !== "";
    return {
      node: {
        id: `${type}~${address.podIp}~${name}.${ns}~${ns}.svc.cluster.local`,
        cluster: `${app}.${ns}`,
        metadata: {
          NAMESPACE: ns,
          CLUSTER_ID: "Kubernetes",
          INSTANCE_IPS: address.podIp,
          LABELS: { ...template.labels },
          SERVICE_ACCOUNT: template.serviceAccount,
          WORKLOAD_NAME: template.workload,
          POD_NAME: name,
          ISTIO_VERSION: "1.31.0",
          MESH_ID: trustDomain,
          INTERCEPTION_MODE: explicit ? "NONE" : "REDIRECT",
          PROXY_CONFIG: template.proxyConfig,
        },
        locality: {},
      },
      discovery: { address: `unix:${join(stateDir, "xds.sock")}`, tokenFile: join(dir, "token") },
      trustDomain,
      admin: `unix:${join(dir, "admin.sock")}`,
      sds: `unix:${join(dir, "sds.sock")}`,
      prometheus: explicit ? `${address.podIp}:15090` : "0.0.0.0:15090",
      logLevel: "info",
      drainSeconds: 5,
    };
  }
}
