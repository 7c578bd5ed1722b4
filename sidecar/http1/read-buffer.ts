// hot path
/**
 * Sockets to upstreams are read into one buffer of the process and hand it to a named function (`onread` of net.connect
 * and tls.connect), instead of a fresh 64 KiB allocation and the stream machinery per read: 3 us of 25 per request
 * (Node 24.21, bench/http1). The price: the bytes are valid until the function returns, and whoever keeps any copies.
 */
import type { OnReadOpts, Socket } from "node:net";

export interface BytesOwner {
  /** `bytes` are gone when this returns. */
  onBytes(bytes: Buffer): void;
}

/** Under it a reader stands on its socket; null: a plain stream from now on (a tunnel). */
export const READER = Symbol("reader");
export type ReadSocket = Socket & { [READER]?: BytesOwner | null };

function onRead(this: ReadSocket, length: number, buffer: Uint8Array): boolean {
  const reader = this[READER];
  const bytes = (buffer as Buffer).subarray(0, length);
  if (reader === null) return this.push(Buffer.from(bytes));
  // Bytes before the connection belongs to anyone were not asked for.
  if (reader === undefined) this.destroy();
  else reader.onBytes(bytes);
  return true;
}

/** Larger than what Node allocates per read: long bodies take fewer turns. Only touched pages are resident. */
const READ_BYTES = 256 * 1024;

export const READ_BY_CALLBACK = {
  buffer: Buffer.allocUnsafeSlow(READ_BYTES),
  callback: onRead as OnReadOpts["callback"],
};
