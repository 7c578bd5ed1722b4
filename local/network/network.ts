import { type ChildProcess, spawn } from "node:child_process";
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { getServers } from "node:dns";
import { once } from "node:events";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync } from "node:fs";
import { connect, isIPv4, type Server, type Socket } from "node:net";
import { join } from "node:path";
import type { PodAddress } from "../addresses.ts";
import { MARK, startTime } from "../leftovers.ts";
import { serveEgress } from "./egress.ts";
import type { Answer, Bind, HolderConfig, Order } from "./holder.ts";
import { explain, missingTools, searchPath } from "./obstacle.ts";
import { dialRelay } from "./relay.ts";
import { NODE_IP, PROBE_IP } from "./rules.ts";

/** How programs get into a pod and how the platform reaches it. */
export interface PodNetwork {
  /** The command that runs `command` in the folder `cwd` inside of the pod. */
  enter(command: readonly string[], cwd: string): readonly string[];
  /** As a kubelet: past the proxy, to the app itself, or to another host from where the pod's node is. */
  probe(port: number, host?: string): Promise<Socket>;
}

/** Explicit mode: a pod is an address, everything is reached directly. */
export function hostNetwork(address: PodAddress): PodNetwork {
  return {
    enter: (command) => command,
    probe: (port, host = address.appIp) => dial(host, port),
  };
}

/** From the host's own network. */
export function dial(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, allowHalfOpen: true });
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.off("error", reject);
      resolve(socket);
    });
  });
}

/** From another process of this machine, past the proxy of the pod as a kubelet; `relaySocket` is there in transparent mode. */
export function dialPod(relaySocket: string, host: string, port: number): Promise<Socket> {
  return existsSync(relaySocket)
    ? dialRelay(relaySocket, { host, port, source: PROBE_IP })
    : dial(host, port);
}

export interface PodWish {
  readonly name: string;
  readonly address: PodAddress;
  /** Its TCP connections go through its sidecar. */
  readonly intercept: boolean;
  readonly binds: readonly Bind[];
}

/** The namespaces of one mesh, held by one process. They are gone when it and the processes of the pods are. */
export class MeshNetwork {
  readonly #holder: ChildProcess;
  readonly #socket: string;
  readonly #egress: Server;
  readonly #ownUsers: boolean;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #last = 0;
  #closing = false;
  /** Resolves with the reason when the holder ends by itself: then no pod reaches another. */
  readonly lost: Promise<string>;

  constructor(holder: ChildProcess, socket: string, egress: Server, ownUsers: boolean) {
    this.#holder = holder;
    this.#socket = socket;
    this.#egress = egress;
    this.#ownUsers = ownUsers;
    holder.on("message", (answer: Answer) => {
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
    this.lost = new Promise((resolve) => {
      holder.once("exit", (code, signal) => {
        const reason = `the process that holds the mesh's network ended (${signal ?? `exit code ${code}`})`;
        for (const tell of this.#waiting.values()) tell({ id: 0, failed: reason });
        this.#waiting.clear();
        if (!this.#closing) resolve(reason);
      });
    });
  }

  async pod({ name, address, intercept, binds }: PodWish): Promise<PodNetwork> {
    const device = `pod${address.podIp.split(".").slice(2).join("-")}`;
    const link = { podIp: address.podIp, appIp: address.appIp, device };
    const answer = await this.#ask({ kind: "make", pod: name, link, intercept, binds });
    if (!("pid" in answer) || answer.pid === undefined) throw new Error("the holder named no process");
    const target = String(answer.pid);
    return {
      enter: (command, cwd) => [...this.#enter(target), "sh", "-c", 'cd "$0" && exec "$@"', cwd, ...command],
      probe: (port, host = address.podIp) =>
        dialRelay(this.#socket, { host, port, source: host === address.podIp ? PROBE_IP : null }),
    };
  }

  #enter(target: string): string[] {
    const users = this.#ownUsers ? ["--user", "--preserve-credentials"] : [];
    return ["nsenter", "--target", target, ...users, "--net", "--mount"];
  }

  /** A connection from the host to an address of the mesh, as from a node. */
  dial(host: string, port: number): Promise<Socket> {
    return dialRelay(this.#socket, { host, port, source: NODE_IP });
  }

  /** What is to end with the supervisor although it is not in the mesh's namespaces. */
  async outside(pids: readonly number[]): Promise<void> {
    const processes = pids.map((pid) => ({ pid, startTime: startTime(pid) }));
    if (!this.#closing) await this.#ask({ kind: "outside", processes });
  }

  /** Rules for the addresses of Services, and the names that are hosts outside. */
  async services(rules: readonly string[], aliases: readonly (readonly [string, string])[]): Promise<void> {
    if (!this.#closing) await this.#ask({ kind: "services", rules, aliases });
  }

  async remove(name: string): Promise<void> {
    if (!this.#closing) await this.#ask({ kind: "remove", pod: name });
  }

  /** Fails with what nsenter says. */
  async tryEnter(): Promise<void> {
    const [file = "", ...args] = [...this.#enter(String(this.#holder.pid)), "true"];
    const child = spawn(file, args, { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr.on("data", (piece: Buffer) => {
      said += piece;
    });
    const [code] = (await once(child, "close")) as [number | null];
    if (code !== 0) throw new Error(said.trim());
  }

  /** A socket belongs to the network in which it was made: the holder gets one of ours to ask the host's name servers. */
  async lookUpThroughHost(): Promise<void> {
    const socket = createSocket("udp4").bind(0);
    await once(socket, "listening");
    const servers = getServers()
      .filter(isIPv4)
      .map((address) => ({ address, port: 53 }));
    await this.#ask({ kind: "names", servers }, socket);
    socket.close();
  }

  #ask(order: Order, handle?: Socket | UdpSocket): Promise<Answer> {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, (answer) => {
        // What was asked of a network that is being closed is done.
        if ("failed" in answer && !this.#closing) reject(new Error(answer.failed));
        else resolve(answer);
      });
      this.#holder.send({ id, order }, handle, (error) => {
        if (error === null) return;
        this.#waiting.delete(id);
        reject(error);
      });
    });
  }

  async close(): Promise<void> {
    this.#closing = true;
    if (this.#holder.exitCode === null && this.#holder.signalCode === null) {
      const gone = new Promise((resolve) => this.#holder.once("exit", resolve));
      this.#holder.kill("SIGKILL");
      await gone;
    }
    this.#egress.close();
    rmSync(this.#socket, { force: true });
  }
}

/** Makes the namespaces of a mesh, or says precisely what is missing. */
export async function openNetwork(stateDir: string): Promise<MeshNetwork | { obstacle: string }> {
  if (process.platform !== "linux") return { obstacle: "it needs the network namespaces of Linux" };
  const path = searchPath(process.env["PATH"] ?? "");
  const missing = missingTools(path);
  if (missing !== null) return { obstacle: missing };
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const first = await tryOpen(stateDir, path, process.geteuid?.() !== 0);
  if (first instanceof MeshNetwork || process.geteuid?.() !== 0) return first;
  // A root without CAP_SYS_ADMIN, as in most containers, may still make a user namespace.
  const second = await tryOpen(stateDir, path, true);
  return second instanceof MeshNetwork ? second : first;
}

async function tryOpen(
  stateDir: string,
  path: string,
  ownUsers: boolean,
): Promise<MeshNetwork | { obstacle: string }> {
  const relaySocket = join(stateDir, "network.sock");
  const egressSocket = join(stateDir, "egress.sock");
  for (const file of [relaySocket, egressSocket]) rmSync(file, { force: true });
  const egress = await serveEgress(egressSocket);
  const config: HolderConfig = { stateDir, relaySocket, egressSocket };
  const users = ownUsers ? ["--user", "--map-current-user", "--keep-caps"] : [];
  const logFile = join(stateDir, "network.log");
  const log = openSync(logFile, "w", 0o600);
  const holder = spawn(
    "unshare",
    [
      ...users,
      ...["--net", "--mount", "--propagation", "slave"],
      ...[process.execPath, join(import.meta.dirname, "holder.ts"), JSON.stringify(config)],
    ],
    {
      env: {
        ...process.env,
        PATH: path,
        [MARK]: stateDir,
        // Only the older iptables asks for a lock, and its place belongs to root.
        XTABLES_LOCKFILE: join(stateDir, "xtables.lock"),
      },
      stdio: ["ignore", log, log, "ipc"],
      detached: true,
    },
  );
  closeSync(log);
  const answer = await new Promise<Answer>((resolve) => {
    holder.once("message", resolve);
    holder.once("error", (error) => resolve({ id: 0, failed: error.message }));
    holder.once("exit", () => resolve({ id: 0, failed: readFileSync(logFile, "utf8").trim() }));
  });
  if ("failed" in answer) {
    if (holder.exitCode === null) holder.kill("SIGKILL");
    egress.close();
    return { obstacle: explain(answer.failed) };
  }
  const network = new MeshNetwork(holder, relaySocket, egress, ownUsers);
  try {
    await network.tryEnter();
    await network.lookUpThroughHost();
  } catch (error) {
    await network.close();
    return { obstacle: explain((error as Error).message) };
  }
  return network;
}
