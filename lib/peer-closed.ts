import type { Duplex } from "node:stream";
import { socketOption } from "./socket-option.ts";

// linux/tcp.h: struct tcp_info begins with the state (net/tcp_states.h); at 24 is how many segments are not acknowledged.
const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const UNACKED = 24;
const TCP_CLOSE = 7;
const TCP_CLOSE_WAIT = 8;
const info = Buffer.alloc(UNACKED + 4);

/**
 * Whether the peer of a TCP connection has sent FIN or RST, also behind bytes that nobody reads: a socket that is paused
 * hears of neither. False where the system does not tell.
 */
export function peerClosed(socket: Duplex): boolean {
  return (
    socketOption(socket, IPPROTO_TCP, TCP_INFO, info) && (info[0] === TCP_CLOSE || info[0] === TCP_CLOSE_WAIT)
  );
}

/**
 * Asked when a FIN has been read: whether the peer had closed before what was written last arrived there. Its host then
 * answered the bytes with RST, or its FIN does not acknowledge them. False where the system does not tell.
 */
export function closedBeforeWrite(socket: Duplex): boolean {
  return (
    socketOption(socket, IPPROTO_TCP, TCP_INFO, info) &&
    (info[0] === TCP_CLOSE || info.readUInt32LE(UNACKED) > 0)
  );
}
