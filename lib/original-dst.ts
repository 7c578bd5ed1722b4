import type { Socket } from "node:net";
import { socketOption } from "./socket-option.ts";

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

// sockaddr_in and sockaddr_in6. The call is synchronous and the answer is copied out at once.
const V4 = Buffer.alloc(16);
const V6 = Buffer.alloc(28);

/**
 * The destination before iptables REDIRECT, or the local address when the connection was not redirected
 * (explicit mode, TPROXY) or the kernel does not know. About 4 us per connection.
 */
export function originalDestination(socket: Socket): Destination {
  const local = { address: plainAddress(socket.localAddress ?? ""), port: socket.localPort ?? 0 };
  // A dual-stack listener shows IPv4 as ::ffff:a.b.c.d; netfilter then knows it under SOL_IP.
  const v6 = local.address.includes(":");
  const value = v6 ? V6 : V4;
  value.fill(0);
  if (!socketOption(socket, v6 ? SOL_IPV6 : SOL_IP, SO_ORIGINAL_DST, value)) return local;
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
