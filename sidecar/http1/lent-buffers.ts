// hot path
/**
 * Long pieces of borrowed bytes, copied into buffers that come back when the socket has written them. A fresh buffer per
 * piece is not the malloc that it seems: V8 counts outside memory, and marked the whole heap for every 64 MiB that went
 * through; of 1.5 ms of CPU per MiB that was 0.9 (Node 24.21).
 */
import type { Socket } from "./pool.ts";
import { READ_BYTES } from "./read-buffer.ts";

/** More are in use only while as many sockets are behind at once. */
const MAX_FREE = 32;
const free: Buffer[] = [];

/** As socket.write; `piece` is at most one read, and may be overwritten when this returns. */
export function writeLent(socket: Socket, piece: Buffer): boolean {
  const lent = free.pop() ?? Buffer.allocUnsafeSlow(READ_BYTES);
  piece.copy(lent);
  // Called for a socket that was destroyed too, and never before libuv lets go of the bytes.
  return socket.write(lent.subarray(0, piece.length), () => giveBack(lent)); // cold: once per long piece
}

function giveBack(lent: Buffer): void {
  if (free.length < MAX_FREE) free.push(lent);
}
