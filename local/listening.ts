/** Where a pod's programs listen, and what to say when that is not where its proxy looks. Linux only; elsewhere nothing is said. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

export interface Listener {
  readonly address: string;
  readonly port: number;
}

/** TCP_LISTEN in include/net/tcp_states.h. */
const LISTEN = "0A";

/** The listening TCP sockets of all processes of a process group. */
export function listenersOf(group: number): Listener[] {
  const inodes = socketsOf(group);
  if (inodes.size === 0) return [];
  return ["tcp", "tcp6"].flatMap((file) =>
    lines(`/proc/${group}/net/${file}`).flatMap((line) => {
      const [, local = "", , state, , , , , , inode = ""] = line.trim().split(/\s+/);
      if (state !== LISTEN || !inodes.has(inode)) return [];
      const [address = "", port = ""] = local.split(":");
      return [{ address: readable(address), port: Number.parseInt(port, 16) }];
    }),
  );
}

function socketsOf(group: number): ReadonlySet<string> {
  const found = new Set<string>();
  for (const pid of entries("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    const stat = lines(`/proc/${pid}/stat`)[0] ?? "";
    // proc(5): field 5 is the process group; the name before it may hold anything.
    if (stat.slice(stat.lastIndexOf(")") + 2).split(" ")[2] !== String(group)) continue;
    for (const fd of entries(`/proc/${pid}/fd`)) {
      const inode = /^socket:\[(\d+)\]$/.exec(link(`/proc/${pid}/fd/${fd}`))?.[1];
      if (inode !== undefined) found.add(inode);
    }
  }
  return found;
}

/** The kernel prints each 32 bits in host order; a little-endian machine is taken for granted, as Node's builds are. */
function readable(hex: string): string {
  const bytes = Buffer.from(hex, "hex");
  for (let i = 0; i < bytes.length; i += 4) bytes.subarray(i, i + 4).reverse();
  if (bytes.length === 4) return bytes.join(".");
  const mapped = bytes.subarray(0, 12).equals(Buffer.from("00000000000000000000ffff", "hex"));
  if (mapped) return bytes.subarray(12).join(".");
  return bytes.every((b) => b === 0)
    ? "::"
    : bytes[15] === 1 && bytes.subarray(0, 15).every((b) => b === 0)
      ? "::1"
      : `[${hex.toLowerCase()}]`;
}

/** In explicit mode: one sentence when the app listens where its proxy does not look for it; undefined when all is well. */
export function misplaced(
  listeners: readonly Listener[],
  ports: readonly number[],
  appIp: string,
): string | undefined {
  for (const { address, port } of listeners) {
    if (!ports.includes(port) || address === appIp) continue;
    if (listeners.some((other) => other.port === port && other.address === appIp)) continue;
    return `it listens on ${address}:${port}; ${whereInstead(appIp)}`;
  }
  return undefined;
}

/** Words of runtimes for EADDRINUSE: Node, libc (Python, Ruby, nginx, Go, Rust, Java). */
const IN_USE = /EADDRINUSE|address (already )?in use|Address already in use/i;

/** What the last words of a program that ended mean in explicit mode. */
export function explainExit(tail: string, appIp: string): string | undefined {
  if (!IN_USE.test(tail)) return undefined;
  return `its address is already in use: in explicit mode the port on other addresses belongs to proxies; ${whereInstead(appIp)}`;
}

function whereInstead(appIp: string): string {
  return `let it listen on the address in $HOST (also $POD_IP), here ${appIp}, not on all addresses`;
}

function entries(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}
function lines(file: string): string[] {
  try {
    return readFileSync(file, "utf8").split("\n");
  } catch {
    return [];
  }
}
function link(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return "";
  }
}
