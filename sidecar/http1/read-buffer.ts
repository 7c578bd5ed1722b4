// hot path
/**
 * Sockets are read into one buffer of the process and hand it to a named function (`onread` of net.connect and
 * tls.connect), instead of a fresh 64 KiB allocation and the stream machinery per read: of 27 us per request this takes
 * 3 upstream and 3 downstream (Node 24.21, bench/http1). The price: the bytes are valid until the function returns, and
 * whoever keeps any copies.
 */
import { type OnReadOpts, Socket, type SocketConstructorOpts } from "node:net";

export interface BytesOwner {
  /** `bytes` are gone when this returns. */
  onBytes(bytes: Buffer): void;
}

/** Under it a reader stands on its socket; null: a plain stream (before anyone reads, and a tunnel). */
export const READER = Symbol("reader");
export type ReadSocket = Socket & { [READER]?: BytesOwner | null };

function onRead(this: ReadSocket, length: number, buffer: Uint8Array): boolean {
  const reader = this[READER];
  const bytes = (buffer as Buffer).subarray(0, length);
  reads++;
  if (reader === null) return this.push(Buffer.from(bytes));
  // Bytes before the connection belongs to anyone were not asked for.
  if (reader === undefined) this.destroy();
  else {
    reading = true;
    reader.onBytes(bytes);
    reading = false;
  }
  return true;
}

/**
 * The event loop learns of all sockets that can be read at once, then reads one after the other: what is read in the same
 * round in which a request was written cannot be its answer, it was there before. Only a full list of events (1024 in
 * libuv) is followed by another in the same round: after so many reads nothing is claimed.
 */
const MAX_CERTAIN_READS = 256;
let reading = false;
let reads = 0;
let round = 1;
let counts = false;

/** Of the reads under way; 0 outside of them, or if it is not certain. */
export function roundOfWrite(): number {
  if (!reading || reads > MAX_CERTAIN_READS) return 0;
  if (!counts) {
    counts = true;
    setImmediate(nextRound);
  }
  return round;
}

/** Whether the bytes at hand had come before what was written in that round. */
export function cameBefore(writtenIn: number): boolean {
  return writtenIn === round && reads <= MAX_CERTAIN_READS;
}

function nextRound(): void {
  counts = false;
  round++;
  reads = 0;
}

/** Larger than what Node allocates per read: long bodies take fewer turns. Only touched pages are resident. */
export const READ_BYTES = 256 * 1024;

export const READ_BY_CALLBACK = {
  buffer: Buffer.allocUnsafeSlow(READ_BYTES),
  callback: onRead as OnReadOpts["callback"],
};

/**
 * The same for a connection that was accepted with pauseOnConnect. Servers have no `onread`, so the handle moves to a
 * socket that has. `_handle` and the option `handle` are undocumented: where they are missing, the socket stays.
 */
export function readAccepted(accepted: Socket): Socket {
  const owner = accepted as unknown as { _handle: { useUserBuffer?: unknown } | null };
  const handle = owner._handle;
  if (handle === null || typeof handle?.useUserBuffer !== "function") {
    accepted.resume();
    return accepted;
  }
  owner._handle = null;
  accepted.destroy();
  const options = { handle, allowHalfOpen: true, readable: true, writable: true, onread: READ_BY_CALLBACK };
  const socket: ReadSocket = new Socket(options as unknown as SocketConstructorOpts);
  socket[READER] = null;
  return socket;
}
