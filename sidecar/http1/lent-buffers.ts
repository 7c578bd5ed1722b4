// hot path
/**
 * Long pieces of the read buffer, which the next read overwrites, are copied before they are written. The copies are made in
 * a few buffers that are used again: memory outside of V8's heap counts for its collector, and with a fresh buffer per piece
 * it marked the whole heap after each 64 MiB of traffic, 0.9 of 1.5 ms of CPU per MiB (Node 24.21).
 */
import type { WriteCallback } from "./outbox.ts";
import type { Socket } from "./pool.ts";
import { READ_BYTES } from "./read-buffer.ts";

/** More are in use only while as many sockets are behind at once. */
const MAX_FREE = 32;
const free: Buffer[] = [];

/** As socket.write; `piece` is at most one read, and may be overwritten when this returns. */
export function writeLent(socket: Socket, piece: Buffer, written?: WriteCallback): boolean {
  const lent = free.pop() ?? Buffer.allocUnsafeSlow(READ_BYTES);
  piece.copy(lent);
  // Called for a socket that was destroyed too, and never before libuv lets go of the bytes.
  return socket.write(lent.subarray(0, piece.length), (error) => giveBack(lent, error, written)); // cold: once per long piece
}

function giveBack(lent: Buffer, error: Error | null | undefined, written: WriteCallback | undefined): void {
  if (free.length < MAX_FREE) free.push(lent);
  written?.(error);
}
