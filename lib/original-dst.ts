import { createRequire } from "node:module";
import type { Socket } from "node:net";

/** Where a redirected connection was really going. */
export interface Destination {
  readonly address: string;
  readonly port: number;
}

const SOL_IP = 0;
const SOL_IPV6 = 41;
// linux/netfilter_ipv4.h SO_ORIGINAL_DST and netfilter_ipv6 IP6T_SO_ORIGINAL_DST share the number.
const SO_ORIGINAL_DST = 80;
const AF_INET6 = 10;

type GetSockOpt = (fd: number, level: number, name: number, value: Buffer, length: Buffer) => number;
let getsockopt: GetSockOpt | null | undefined;

function load(): GetSockOpt | null {
  if (process.platform !== "linux") return null;
  try {
    // Loaded by the first connection that needs it: outside transparent mode none does.
    const koffi = createRequire(import.meta.url)("koffi") as typeof import("koffi");
    return koffi
      .load(null)
      .func("int getsockopt(int fd, int level, int name, void *value, void *length)") as GetSockOpt;
  } catch {
    return null;
  }
}

// Two buffers for the process: the call is synchronous and the answer is copied out at once.
const value = Buffer.alloc(28);
const length = Buffer.alloc(4);

/**
 * The destination before iptables REDIRECT, or the local address when the connection was not redirected
 * (explicit mode, TPROXY) or the kernel does not know. About 4 us per connection.
 */
export function originalDestination(socket: Socket): Destination {
  const local = { address: plainAddress(socket.localAddress ?? ""), port: socket.localPort ?? 0 };
  if (getsockopt === undefined) getsockopt = load();
  if (getsockopt === null) return local;
  // Undocumented but stable for years; used in this file only.
  const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd ?? -1;
  if (fd < 0) return local;
  // A dual-stack listener shows IPv4 as ::ffff:a.b.c.d; netfilter then knows it under SOL_IP.
  const v6 = local.address.includes(":");
  value.fill(0);
  length.writeInt32LE(v6 ? 28 : 16);
  if (getsockopt(fd, v6 ? SOL_IPV6 : SOL_IP, SO_ORIGINAL_DST, value, length) !== 0) return local;
  return decodeSockaddr(value);
}

/** sockaddr_in or sockaddr_in6 (family little endian, port and address in network order). */
export function decodeSockaddr(bytes: Buffer): Destination {
  const port = bytes.readUInt16BE(2);
  if (bytes.readUInt16LE(0) !== AF_INET6)
    return { address: `${bytes[4]}.${bytes[5]}.${bytes[6]}.${bytes[7]}`, port };
  const groups: string[] = [];
  for (let at = 8; at < 24; at += 2) groups.push(bytes.readUInt16BE(at).toString(16));
  return { address: compress(groups), port };
}

/** RFC 5952: the longest run of two or more zero groups becomes "::", so that the text is a usable key. */
function compress(groups: readonly string[]): string {
  let best = -1;
  let bestLength = 1;
  for (let at = 0; at < groups.length; at++) {
    let end = at;
    while (groups[end] === "0") end++;
    if (end - at > bestLength) {
      best = at;
      bestLength = end - at;
    }
  }
  if (best < 0) return groups.join(":");
  return `${groups.slice(0, best).join(":")}::${groups.slice(best + bestLength).join(":")}`;
}

/** `::ffff:10.0.0.1` -> `10.0.0.1`. */
export function plainAddress(address: string): string {
  return address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
}
