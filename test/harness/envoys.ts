/** Stock Envoys, one per pod, each in a network of its own, that take what is pushed to them over real ADS. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { expect, vi } from "vitest";
import { Authority } from "#certs/authority/index.ts";
import { addCaService } from "#control-plane/ca/index.ts";
import { AdsServer } from "#control-plane/serve/ads.ts";
import { createLogger } from "#lib/log.ts";
import { type ResourceSet, TYPE } from "#xds/index.ts";
import { findEnvoy } from "./envoy.ts";

const envoy = findEnvoy();
const namespaces = spawnSync("unshare", ["-Urn", "ip", "link", "set", "lo", "up"]).status === 0;
/** Why there can be none, or "". In CI nothing may be missing. */
export const missingEnvoys =
  "missing" in envoy
    ? envoy.missing
    : namespaces
      ? ""
      : "needs unprivileged user and network namespaces, and ip: apt install iproute2";
if (missingEnvoys !== "" && process.env["CI"])
  throw new Error(`in CI nothing may be missing: ${missingEnvoys}`);

export interface EnvoyPod {
  readonly pod: string;
  readonly ip: string;
}

const podOf = (nodeId: string): string => nodeId.split("~")[2]!.split(".")[0]!;
const log = createLogger("test", "silent");

export class Envoys {
  readonly #pods: readonly EnvoyPod[];
  readonly #folder = mkdtempSync(join(tmpdir(), "weft-envoys-"));
  readonly #agents = new Map<string, ChildProcess>();
  readonly #logs = new Map<string, string>();
  readonly #now = new Map<string, ResourceSet>();
  /** By pod and type: what the last response got. */
  readonly #answers = new Map<string, { nonce: string; refused: string | null }>();
  readonly #ads: AdsServer;
  #server: Server | null = null;

  private constructor(pods: readonly EnvoyPod[]) {
    this.#pods = pods;
    this.#ads = new AdsServer({
      onConnect: (node) => this.#now.get(podOf(node.id)),
      onEvent: (nodeId, { kind, type, nonce, message }) => {
        if (kind === "ack" || kind === "nack")
          this.#answers.set(`${podOf(nodeId)} ${type}`, { nonce, refused: message ?? null });
      },
      log,
    });
  }

  /** @param resources what each pod gets first */
  static async start(pods: readonly EnvoyPod[], resources: (pod: string) => ResourceSet): Promise<Envoys> {
    const envoys = new Envoys(pods);
    for (const { pod } of pods) envoys.#now.set(pod, resources(pod));
    await envoys.#start();
    return envoys;
  }

  async #start(): Promise<void> {
    const server = new Server();
    this.#server = server;
    this.#ads.register(server);
    addCaService(server, {
      authority: Authority.open(join(this.#folder, "ca"), "cluster.local"),
      authenticate: async () => ({
        namespace: "default",
        serviceAccount: "any",
        spiffeId: "spiffe://cluster.local/ns/default/sa/any",
      }),
      defaultTtlSeconds: 3600,
      log,
    });
    const address = `unix:${join(this.#folder, "xds.sock")}`;
    await new Promise<void>((done, fail) =>
      server.bindAsync(address, ServerCredentials.createInsecure(), (e) => (e ? fail(e) : done())),
    );
    writeFileSync(join(this.#folder, "token"), "a.b.c\n");
    for (const pod of this.#pods) this.#spawn(pod, address);
    expect(await this.settled()).toEqual(new Map());
  }

  #spawn({ pod, ip }: EnvoyPod, address: string): void {
    // Envoy's bootstrap stands beside its configuration.
    const folder = join(this.#folder, pod);
    mkdirSync(folder, { recursive: true });
    writeFileSync(
      join(folder, "proxy.json"),
      JSON.stringify({
        node: { id: this.#nodeOf(pod), cluster: `${pod}.default`, metadata: {} },
        discovery: { address, tokenFile: join(this.#folder, "token") },
        trustDomain: "cluster.local",
        admin: `unix:${join(folder, "admin")}`,
        sds: `unix:${join(folder, "sds")}`,
        logLevel: "warn",
        drainSeconds: 0,
      }),
    );
    const main = join(import.meta.dirname, "../../sidecar/envoy/main.ts");
    // Listeners bind what they name, in a network of their own.
    const script = `ip link set lo up && ip addr add ${ip}/32 dev lo && exec "$@"`;
    const path = "path" in envoy ? envoy.path : "";
    const command = [process.execPath, main, "--config", join(folder, "proxy.json"), "--envoy", path];
    const agent = spawn("unshare", ["-Urn", "sh", "-c", script, "sh", ...command], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [agent.stdout, agent.stderr])
      stream.on("data", (chunk: Buffer) =>
        this.#logs.set(pod, ((this.#logs.get(pod) ?? "") + chunk).slice(-10_000)),
      );
    this.#agents.set(pod, agent);
  }

  #nodeOf(pod: string): string {
    const { ip } = this.#pods.find((p) => p.pod === pod)!;
    return `sidecar~${ip}~${pod}.default~default.svc.cluster.local`;
  }

  push(pod: string, resources: ResourceSet): void {
    this.#now.set(pod, resources);
    this.#ads.push(this.#nodeOf(pod), resources);
  }

  /** Waits until every Envoy has answered all that was sent: what each refused, by pod. An Envoy that ended is an error. */
  async settled(): Promise<Map<string, string>> {
    const refused = new Map<string, string>();
    await vi.waitFor(
      () => {
        refused.clear();
        for (const { pod } of this.#pods) {
          const state = this.#state(pod);
          if (state === "waiting")
            throw new Error(`${pod} has not answered: ${this.#logs.get(pod)?.slice(-1000)}`);
          if (state !== "accepted") refused.set(pod, state);
        }
      },
      { timeout: 30_000, interval: 5 },
    );
    return refused;
  }

  #state(pod: string): string {
    const agent = this.#agents.get(pod)!;
    if (agent.exitCode !== null || agent.signalCode !== null)
      throw new Error(`the Envoy of ${pod} has ended: ${this.#logs.get(pod)?.slice(-2000)}`);
    const proxy = this.#ads.status().find((p) => podOf(p.nodeId) === pod);
    const types = [TYPE.cluster, TYPE.endpoints, TYPE.listener, TYPE.route].filter(
      (type) => type !== TYPE.route || proxy?.types[type] !== undefined,
    );
    for (const type of types) {
      const answer = this.#answers.get(`${pod} ${type}`);
      const status = proxy?.types[type];
      if (answer === undefined || answer.nonce !== status?.nonceSent || !status.upToDate) return "waiting";
      if (answer.refused !== null) return answer.refused;
    }
    return "accepted";
  }

  async stop(): Promise<void> {
    const agents = [...this.#agents.values()].filter((a) => a.exitCode === null && a.signalCode === null);
    const ended = agents.map((agent) => new Promise((done) => agent.once("exit", done)));
    for (const agent of agents) agent.kill("SIGTERM"); // SIGKILL would leave Envoy behind
    await Promise.all(ended);
    this.#server?.forceShutdown();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
