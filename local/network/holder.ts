/**
 * The one process that holds the network of a mesh: it runs inside of the mesh's namespaces, makes those of the pods and
 * relays connections from and to the host. Everything goes with it: the namespaces of pods are held by its children,
 * which end when it does. Started by network.ts, spoken to over Node's IPC channel.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { refuseInspector } from "#lib/no-inspector.ts";
import { killLeftovers, startTime, uptimeTicks } from "../leftovers.ts";
import { type Aliases, type NameServer, serveNames } from "./dns.ts";
import { takeEgress } from "./egress.ts";
import { serveRelay } from "./relay.ts";
import { meshLinks, meshRules, NODE_IP, nodeLinks, type PodLink, podLinks, podRules } from "./rules.ts";

export interface HolderConfig {
  readonly stateDir: string;
  /** Here pods are reached from the host. */
  readonly relaySocket: string;
  /** Here the host is reached from pods. */
  readonly egressSocket: string;
}

/** [file inside of the pod, what it shows] */
export type Bind = readonly [target: string, source: string];

export type Order =
  | {
      readonly kind: "make";
      readonly pod: string;
      readonly link: PodLink;
      readonly intercept: boolean;
      readonly binds: readonly Bind[];
    }
  | { readonly kind: "remove"; readonly pod: string }
  | {
      readonly kind: "services";
      readonly rules: readonly string[];
      /** [full name, host] of Services that are names of hosts outside. */
      readonly aliases: readonly (readonly [string, string])[];
    }
  /** Processes of the mesh that are not in its user namespace, from which their environment cannot be read. */
  | { readonly kind: "outside"; readonly processes: readonly ProcessId[] }
  /** Comes with a UDP socket of the host's network. */
  | { readonly kind: "names"; readonly servers: readonly NameServer[] };

export interface ProcessId {
  readonly pid: number;
  readonly startTime: string | undefined;
}

export interface Call {
  readonly id: number;
  readonly order: Order;
}
/** `failed` says which step and what the tool said. The first answer, id 0, is about the mesh itself. */
export type Answer =
  | { readonly id: number; readonly pid?: number }
  | { readonly id: number; readonly failed: string };

/** Arguments: `target source` pairs. `cat` holds the namespaces until the holder closes its input, also by dying. */
const POD = `set -e
printf %s "$LINKS" | ip -batch -
if [ -n "$RULES" ]; then printf %s "$RULES" | iptables-restore -w 5; fi
# Port 80 as in a container; and more connections of one source address than there are ports.
for setting in ip_unprivileged_port_start=0 ip_autobind_reuse=1; do
  echo "\${setting#*=}" 2>/dev/null >"/proc/sys/net/ipv4/\${setting%%=*}" || :
done
while [ $# -gt 1 ]; do
  if [ -e "$1" ]; then mount --bind "$2" "$1"; fi
  shift 2
done
echo made
exec cat
`;

// Started by hand, and as root, it would set up the machine's own network.
if (process.argv[2] === undefined || process.send === undefined) {
  console.error("holder.ts is started by network.ts, inside of the mesh's namespaces");
  process.exit(2);
}
refuseInspector();
const config = JSON.parse(process.argv[2]) as HolderConfig;
const pods = new Map<string, { readonly process: ChildProcess; readonly device: string }>();
let egressPort = 0;
let aliases: Aliases = new Map();
let outside: readonly ProcessId[] = [];

process.on("message", (call: Call, handle: unknown) => {
  obey(call.order, handle).then(
    (pid) => answer({ id: call.id, ...(pid === undefined ? {} : { pid }) }),
    (error: Error) => answer({ id: call.id, failed: error.message }),
  );
});
// A supervisor that ends in order has stopped its pods; one that was killed has not. Only what is older than its end is
// ended: a new `weft up` may have begun.
process.on("disconnect", () => {
  for (const { pid, startTime: began } of outside) if (startTime(pid) === began) process.kill(pid, "SIGKILL");
  void killLeftovers(config.stateDir, new Set(), uptimeTicks()).then(() => process.exit(0));
});
try {
  await run("ip", ["-batch", "-"], meshLinks());
  writeFileSync("/proc/sys/net/ipv4/ip_forward", "1");
  // As pods will, with their own files.
  await run("mount", ["--bind", "/etc/hosts", "/etc/hosts"], "");
  egressPort = await takeEgress(config.egressSocket);
  await run("iptables-restore", ["-w", "5"], meshRules(egressPort, []));
  await serveRelay(config.relaySocket);
  answer({ id: 0, pid: process.pid });
} catch (error) {
  answer({ id: 0, failed: (error as Error).message });
}

async function obey(order: Order, handle: unknown): Promise<number | undefined> {
  switch (order.kind) {
    case "make":
      try {
        return await make(order.pod, order.link, order.intercept, order.binds);
      } catch (error) {
        await remove(order.pod);
        throw error;
      }
    case "remove":
      await remove(order.pod);
      return undefined;
    case "services":
      aliases = new Map(order.aliases);
      await run("iptables-restore", ["-w", "5"], meshRules(egressPort, order.rules));
      return undefined;
    case "outside":
      outside = order.processes;
      return undefined;
    case "names": {
      const socket = createSocket("udp4").bind(53, NODE_IP);
      await once(socket, "listening");
      serveNames(socket, handle as Socket, order.servers, () => aliases);
      return undefined;
    }
  }
}

async function make(pod: string, link: PodLink, intercept: boolean, binds: readonly Bind[]): Promise<number> {
  const child = spawn(
    "unshare",
    ["-n", "-m", "--propagation", "slave", "sh", "-c", POD, "pod", ...binds.flat()],
    {
      env: {
        ...process.env,
        LINKS: podLinks(link, process.pid),
        RULES: intercept ? podRules(link.podIp) : "",
      },
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
    },
  );
  pods.set(pod, { process: child, device: link.device });
  let said = "";
  child.stderr.on("data", (piece: Buffer) => {
    said += piece;
  });
  const ended = new Promise<never>((_, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) =>
      reject(new Error(`unshare ended with ${signal ?? code}: ${said.trim()}`)),
    );
  });
  ended.catch(() => {});
  await Promise.race([once(child.stdout, "data"), ended]);
  await run("ip", ["-batch", "-"], nodeLinks(link));
  return child.pid!;
}

/** The pod's namespace goes with its last process, its veth pair at once: the kernel would take its time over it. */
async function remove(pod: string): Promise<void> {
  const held = pods.get(pod);
  if (held === undefined) return;
  pods.delete(pod);
  held.process.kill("SIGKILL");
  await run("ip", ["link", "del", held.device], "").catch(() => {});
}

function run(tool: string, args: readonly string[], input: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(tool, args, { stdio: ["pipe", "ignore", "pipe"] });
    let said = "";
    child.stderr.on("data", (piece: Buffer) => {
      said += piece;
    });
    child.stdin.on("error", () => {});
    child.stdin.end(input);
    child.once("error", reject);
    child.once("close", (code) =>
      code === 0 ? resolve() : reject(new Error(`${tool}: ${said.trim() || `exit code ${code}`}`)),
    );
  });
}

function answer(message: Answer): void {
  if (process.connected) process.send?.(message);
}
