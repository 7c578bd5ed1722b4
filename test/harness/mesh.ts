/**
 * A mesh of real processes for tests: `weft up` as a child, on a private copy of a folder of YAML, so that a test may
 * edit what it wants. Everything a test asks of it goes where a user would go: files, the CLI, Unix sockets, signals.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { request } from "node:http";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { vi } from "vitest";
import { weft } from "#cli/run.ts";
import type { ObjectsAnswer, StatusAnswer } from "#control-plane/admin/contract.ts";
import type { PlatformStatus } from "#local/contract.ts";
import { Door } from "./door.ts";
import { findEnvoy } from "./envoy.ts";

export type DataPlane = "weft" | "envoy";
export type Mode = "explicit" | "transparent";

export interface MeshOptions {
  readonly dataPlane: DataPlane;
  readonly mode: Mode;
  /** A folder; its one LoadBalancer port becomes a free one, so that meshes run side by side. */
  readonly from: string;
  /** Literal texts that are replaced in the YAML of the copy, such as `ECHO_MAIN` by a path. */
  readonly replace?: Readonly<Record<string, string>>;
  /** More arguments for `weft up`. */
  readonly args?: readonly string[];
}

export interface MeshPod {
  readonly name: string;
  readonly namespace: string;
  readonly podIp: string;
  /** Explicit mode: where the app listens itself, past its proxy. */
  readonly appIp: string;
  readonly ready: boolean;
}

/** What platform.json holds: Pods and IPAddresses. */
interface PlatformItem {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly { readonly name: string }[];
  };
  readonly spec?: {
    readonly parentRef?: { readonly name: string; readonly namespace: string };
    readonly containers?: readonly { readonly ports: readonly { readonly containerPort: number }[] }[];
  };
  readonly status: {
    readonly podIP: string;
    readonly conditions: readonly { readonly type: string; readonly status: string }[];
  };
}

export interface Finished {
  readonly code: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** Where a proxy shows its metrics. */
const PROMETHEUS_PORT = 15090;
const ROOT = join(import.meta.dirname, "../..");

export class Mesh {
  readonly dataPlane: DataPlane;
  readonly mode: Mode;
  /** The private copy of the folder. */
  readonly dir: string;
  readonly stateDir: string;
  /** "http://127.0.0.1:PORT", the LoadBalancer port of the gateway. */
  readonly gateway: string;
  readonly #home: string;
  readonly #doors = new Map<string, Promise<Door>>();
  readonly #up: ChildProcess;

  constructor(options: MeshOptions, home: string, up: ChildProcess, stateDir: string, port: number) {
    this.dataPlane = options.dataPlane;
    this.mode = options.mode;
    this.#home = home;
    this.#up = up;
    this.dir = join(home, "mesh");
    this.stateDir = stateDir;
    this.gateway = `http://127.0.0.1:${port}`;
  }

  /** Pods of a workload ("reviews-v1") or one pod ("reviews-v1-0"), as the platform tells the control plane. */
  pods(workload: string): MeshPod[] {
    return this.#platform()
      .filter((item) => item.kind === "Pod")
      .filter(
        ({ metadata }) => metadata.name === workload || metadata.ownerReferences?.[0]?.name === workload,
      )
      .map(({ metadata, status }) => ({
        name: metadata.name,
        namespace: metadata.namespace,
        podIp: status.podIP,
        appIp: metadata.annotations?.["weft.dev/app-address"] ?? status.podIP,
        ready: status.conditions.some((c) => c.type === "Ready" && c.status === "True"),
      }));
  }

  pod(workload: string): MeshPod {
    const [pod] = this.pods(workload);
    if (pod === undefined) throw new Error(`no pod of ${workload}`);
    return pod;
  }

  /** An address at which the test process reaches a Service as a pod's app does: through that pod's proxy. */
  async addressOf(service: string, from: string): Promise<string> {
    const items = this.#platform();
    const { name, namespace } = this.pod(from);
    const pod = items.find((item) => item.kind === "Pod" && item.metadata.name === name);
    const ip = items.find(
      ({ spec }) => spec?.parentRef?.name === service && spec.parentRef.namespace === namespace,
    )?.metadata.name;
    if (ip === undefined) throw new Error(`${from} has no address of ${service}`);
    if (this.mode === "transparent")
      return (await this.#door(name, () => this.#appOf(name).pid)).to(
        ip,
        await this.#portsOf(service, namespace),
      );
    return `${pod?.metadata.annotations?.["weft.dev/service-prefix"]}.${ip.split(".").slice(2).join(".")}`;
  }

  /** An address at which the test process reaches a pod's app past its proxy. */
  async appAddress(workload: string): Promise<string> {
    const { name, appIp } = this.pod(workload);
    if (this.mode === "explicit") return appIp;
    // A pod's call to itself is not intercepted.
    return (await this.#door(name, () => this.#appOf(name).pid)).to(appIp, this.#containerPorts(name));
  }

  /** An address at which the test process reaches a pod through its proxy, as a stranger on the network. */
  async podAddress(workload: string): Promise<string> {
    const { name, podIp } = this.pod(workload);
    if (this.mode === "explicit") return podIp;
    const ports = [...this.#containerPorts(name), PROMETHEUS_PORT];
    return (await this.#door("node", () => this.#holder())).to(podIp, ports);
  }

  #containerPorts(name: string): number[] {
    const pod = this.#platform().find((item) => item.kind === "Pod" && item.metadata.name === name);
    return pod?.spec?.containers?.flatMap((c) => c.ports.map((p) => p.containerPort)) ?? [];
  }

  /** The process that holds the mesh's network in transparent mode. */
  #holder(): number {
    const holder = this.#processes().find(({ args }) =>
      args.some((arg) => arg.endsWith("/network/holder.ts")),
    );
    if (holder === undefined) throw new Error("nothing holds the mesh's network");
    return holder.pid;
  }

  #door(where: string, pid: () => number): Promise<Door> {
    let door = this.#doors.get(where);
    if (door === undefined) {
      door = Door.open(enter(pid()), join(this.#home, `door-${this.#doors.size}`));
      this.#doors.set(where, door);
    }
    return door;
  }

  async #portsOf(service: string, namespace: string): Promise<number[]> {
    const query = new URLSearchParams({ kind: "Service", name: service, namespace });
    const answer = await this.admin("control-plane", `/objects?${query}`);
    const { objects } = JSON.parse(answer ?? "null") as ObjectsAnswer;
    const spec = objects[0]?.object["spec"] as { ports: { port: number }[] };
    return spec.ports.map(({ port }) => port);
  }

  #platform(): PlatformItem[] {
    const text = readFileSync(join(this.stateDir, "platform.json"), "utf8");
    return (JSON.parse(text) as { items: PlatformItem[] }).items;
  }

  /** Pid of the control plane, of a pod's proxy, or of its app; undefined while it does not run. */
  pid(of: "control-plane" | { readonly pod: string; readonly part: "app" | "proxy" }): number | undefined {
    const proxyFile = of === "control-plane" ? "" : join(this.stateDir, "pods", of.pod, "proxy.json");
    return this.#processes().find(({ args, env }) => {
      if (of === "control-plane") return args.includes(join(this.stateDir, "control-plane.json"));
      if (of.part === "proxy") return args.includes(proxyFile);
      return env["HOSTNAME"] === of.pod && env["POD_IP"] !== undefined;
    })?.pid;
  }

  /** Processes that carry the mesh's mark in their environment (local/leftovers.ts), parents first. */
  #processes(): { pid: number; args: string[]; env: Record<string, string> }[] {
    const found = [];
    for (const entry of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
      try {
        const words = (file: string): string[] => readFileSync(`/proc/${entry}/${file}`, "utf8").split("\0");
        const env = Object.fromEntries(words("environ").map((pair) => pair.split(/=(.*)/s).slice(0, 2)));
        if (env["WEFT_MESH_STATE"] === this.stateDir)
          found.push({ pid: Number(entry), args: words("cmdline"), env });
      } catch {
        // Another user's process, or gone.
      }
    }
    return found.sort((a, b) => a.pid - b.pid);
  }

  /** SIGKILL; returns the pid that is gone. */
  kill(of: Parameters<Mesh["pid"]>[0]): number {
    const pid = this.pid(of);
    if (pid === undefined) throw new Error(`${JSON.stringify(of)} does not run`);
    process.kill(pid, "SIGKILL");
    return pid;
  }

  /** Runs a program as the pod's app runs: its environment, in transparent mode its namespaces. */
  exec(pod: string, command: readonly string[]): Promise<Finished> {
    const app = this.#appOf(pod);
    return run([...enter(app.pid), ...command], app.env);
  }

  #appOf(pod: string): { pid: number; env: Record<string, string> } {
    const app = this.#processes().find(({ env }) => env["HOSTNAME"] === pod && env["POD_IP"] !== undefined);
    if (app === undefined) throw new Error(`the app of ${pod} does not run`);
    return app;
  }

  /** Runs a program outside of every pod, where pods can be reached: as a kubelet or a host of the cluster would. */
  execOnNode(command: readonly string[]): Promise<Finished> {
    if (this.mode === "explicit") return run(command, process.env);
    return run([...enter(this.#holder()), ...command], process.env);
  }

  /** `weft ARGS` on this mesh; its standard output. A non-zero exit is an error with what it said. */
  async weft(...args: string[]): Promise<string> {
    const { code, out, err } = await this.cli(...args);
    if (code !== 0) throw new Error(`weft ${args.join(" ")} ended with ${code}: ${err}`);
    return out;
  }

  /** `weft ARGS` on this mesh, whatever becomes of it. */
  cli(...args: string[]): Promise<{ code: number; out: string; err: string }> {
    return this.cliWith("", ...args);
  }

  /** The same with something on its standard input. */
  async cliWith(stdin: string, ...args: string[]): Promise<{ code: number; out: string; err: string }> {
    let out = "";
    let err = "";
    const code = await weft(args, {
      stdout: process.stdout,
      env: { ...process.env, XDG_STATE_HOME: this.#home },
      cwd: ROOT,
      writeOut: (text) => (out += text),
      writeErr: (text) => (err += text),
      readStdin: () => Promise.resolve(stdin),
    });
    return { code, out, err };
  }

  /** `weft apply -f` of a file or of YAML text, then waits until every proxy acknowledged. */
  async apply(fileOrText: string): Promise<void> {
    let file = fileOrText;
    if (fileOrText.includes("\n")) {
      file = join(this.#home, "applied.yaml");
      writeFileSync(file, fileOrText);
    }
    await this.weft("apply", "-f", file);
    await this.settled();
  }

  async delete(kind: string, name: string): Promise<void> {
    await this.weft("delete", kind, name);
    await this.settled();
  }

  /** Rewrites one file of the copy in one step, as editors do (a new file takes the name). */
  edit(file: string, change: (text: string) => string): void {
    const path = join(this.dir, file);
    const before = readFileSync(path, "utf8");
    const after = change(before);
    if (after === before) throw new Error(`${file}: the edit changes nothing`);
    writeFileSync(`${path}.new`, after);
    renameSync(`${path}.new`, path);
  }

  /** GET of an admin socket: a pod's proxy, or the control plane. Null: no answer. */
  admin(of: "control-plane" | string, path: string): Promise<string | null> {
    const dir = of === "control-plane" ? this.stateDir : join(this.stateDir, "pods", of);
    return this.#get(join(dir, "admin.sock"), path);
  }

  /** What `weft up` says of its workloads and pods. */
  async platform(): Promise<PlatformStatus> {
    const text = await this.#get(join(this.stateDir, "platform.sock"), "/status");
    if (text === null) throw new Error("the supervisor does not answer");
    return JSON.parse(text) as PlatformStatus;
  }

  #get(socketPath: string, path: string): Promise<string | null> {
    return new Promise((resolve) => {
      const call = request({ socketPath, path, agent: false }, (response) => {
        let text = "";
        response.on("data", (chunk) => (text += chunk));
        response.on("end", () => resolve(text));
        response.on("error", () => resolve(null));
      });
      call.on("error", () => resolve(null));
      call.end();
    });
  }

  async status(): Promise<StatusAnswer> {
    const text = await this.admin("control-plane", "/status");
    if (text === null) throw new Error("the control plane does not answer");
    return JSON.parse(text) as StatusAnswer;
  }

  /** The proxy of every pod is connected and has acknowledged what it was last sent. */
  async settled(): Promise<void> {
    await vi.waitUntil(
      async () => {
        const { proxies } = await this.status().catch(() => ({ proxies: [] }));
        const pods = this.#platform().filter(
          ({ kind, metadata, status }) =>
            kind === "Pod" &&
            status?.podIP !== undefined &&
            (metadata.labels?.["security.istio.io/tlsMode"] === "istio" ||
              metadata.annotations?.["inject.istio.io/templates"] === "gateway"),
        );
        return (
          proxies.length >= pods.length && // one that has just begun has not heard of all
          proxies.every(
            (p) => p.connected && Object.values(p.types).every((t) => t.upToDate && t.acked === t.sent),
          )
        );
      },
      { timeout: 40_000, interval: 10 }, // Envoy waits up to 30 s before it connects again
    );
  }

  log(pod: string, container = "istio-proxy"): string {
    return readFileSync(join(this.stateDir, "pods", pod, "logs", `${container}.log`), "utf8");
  }

  async stop(): Promise<void> {
    for (const door of this.#doors.values()) (await door).close();
    if (this.#up.exitCode === null && this.#up.signalCode === null) {
      this.#up.kill("SIGTERM");
      await once(this.#up, "exit");
    }
    rmSync(this.#home, { recursive: true, force: true });
  }
}

/** The command line that starts another in the namespaces of a process; empty where they are ours. */
function enter(pid: number): string[] {
  const other = (kind: string): boolean =>
    readlinkSync(`/proc/${pid}/ns/${kind}`) !== readlinkSync(`/proc/self/ns/${kind}`);
  if (!other("net")) return [];
  const users = other("user") ? ["--user", "--preserve-credentials"] : [];
  return ["nsenter", "--target", String(pid), ...users, "--net", "--mount"];
}

/** Runs a program to its end. */
export async function run(command: readonly string[], env: NodeJS.ProcessEnv): Promise<Finished> {
  const [file = "", ...args] = command;
  const child = spawn(file, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  const out: Buffer[] = [];
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk;
  });
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout: Buffer.concat(out), stderr };
}

/** Resolves when `weft up` says that the mesh is ready. */
export async function startMesh(options: MeshOptions): Promise<Mesh> {
  const home = mkdtempSync(join(tmpdir(), "wf-")); // short: Unix socket paths lie below
  const dir = join(home, "mesh");
  cpSync(options.from, dir, { recursive: true });
  const port = await freePort();
  for (const file of readdirSync(dir, { recursive: true, encoding: "utf8" }))
    if (file.endsWith(".yaml")) adapt(join(dir, file), port, options.replace ?? {});
  const envoy = findEnvoy();
  const args = ["cli/main.ts", "up", dir, "--data-plane", options.dataPlane, "--mode", options.mode];
  const up = spawn(process.execPath, [...args, "-o", "json", ...(options.args ?? [])], {
    cwd: ROOT,
    env: {
      ...process.env,
      // Apps of tests are TypeScript, and pods run the user's own Node: here this one is the user's.
      PATH: `${dirname(process.execPath)}${delimiter}${process.env["PATH"]}`,
      XDG_STATE_HOME: home,
      WEFT_ENVOY: "path" in envoy ? envoy.path : "",
    },
  });
  const killed = (): void => void up.kill("SIGTERM");
  process.once("exit", killed); // a test run that is stopped takes its meshes with it
  up.once("exit", () => process.off("exit", killed));
  let out = "";
  let err = "";
  up.stderr.on("data", (chunk) => (err += chunk));
  const status = await new Promise<{ stateDir: string }>((done, fail) => {
    up.stdout.on("data", (chunk) => {
      out += chunk;
      if (out.endsWith("\n}\n")) done(JSON.parse(out));
    });
    up.once("exit", (code) => fail(new Error(`weft up ended with ${code}: ${err}`)));
  });
  return new Mesh(options, home, up, status.stateDir, port);
}

const HOST_PORT = /( - port: )8080(\n\s+targetPort: 8080)/;

function adapt(file: string, port: number, replace: Readonly<Record<string, string>>): void {
  let text = readFileSync(file, "utf8");
  for (const [from, to] of Object.entries(replace)) text = text.replaceAll(from, to);
  if (text.includes("LoadBalancer")) text = text.replace(HOST_PORT, `$1${port}$2`);
  writeFileSync(file, text);
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((done) => probe.listen(0, "127.0.0.1", done));
  const { port } = probe.address() as AddressInfo;
  await new Promise((done) => probe.close(done));
  return port;
}
