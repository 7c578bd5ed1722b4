import { createRequire } from "node:module";
import type { Duplex } from "node:stream";

type GetSockOpt = (fd: number, level: number, name: number, value: Buffer, length: Buffer) => number;
let getsockopt: GetSockOpt | null | undefined;

function load(): GetSockOpt | null {
  if (process.platform !== "linux") return null;
  try {
    // Loaded by the first connection that needs it: outside transparent mode few do.
    const koffi = createRequire(import.meta.url)("koffi") as typeof import("koffi");
    return koffi
      .load(null)
      .func("int getsockopt(int fd, int level, int name, void *value, void *length)") as GetSockOpt;
  } catch {
    return null;
  }
}

// The call is synchronous: one buffer for the process.
const length = Buffer.alloc(4);

/**
 * getsockopt(2), about 4 us: fills `value`, or returns false where the socket has no descriptor, the kernel refuses, or the
 * platform has no such call.
 */
export function socketOption(socket: Duplex, level: number, name: number, value: Buffer): boolean {
  if (getsockopt === undefined) getsockopt = load();
  if (getsockopt === null) return false;
  // Undocumented but stable for years; used in this file only.
  const fd = (socket as unknown as { _handle?: { fd?: number } | null })._handle?.fd ?? -1;
  if (fd < 0) return false;
  length.writeInt32LE(value.length);
  return getsockopt(fd, level, name, value, length) === 0;
}
