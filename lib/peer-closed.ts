import type { Duplex } from "node:stream";
import { socketOption } from "./socket-option.ts";

// linux/tcp.h; the first byte of struct tcp_info is the state (net/tcp_states.h).
const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const TCP_CLOSE = 7;
const TCP_CLOSE_WAIT = 8;
const state = Buffer.alloc(1);

/**
 * Whether the peer of a TCP connection has sent FIN or RST, also behind bytes that nobody reads: a socket that is paused
 * hears of neither. False where the system does not tell.
 */
export function peerClosed(socket: Duplex): boolean {
  return (
    socketOption(socket, IPPROTO_TCP, TCP_INFO, state) &&
    (state[0] === TCP_CLOSE || state[0] === TCP_CLOSE_WAIT)
  );
}
