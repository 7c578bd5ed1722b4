import { closeSync, constants, fstatSync, openSync, readSync, realpathSync } from "node:fs";
import { MAX_BYTES } from "#policies/index.ts";

export interface Opened {
  readonly fd: number;
  readonly size: number;
}

/** Opens a file and gives it to `use`; neither a pipe nor a device is waited for. Throws an Error that says what it is. */
export function withFile<T>(file: string, use: (opened: Opened) => T): T {
  const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new Error("it is not a regular file");
    // The kernel's own files call themselves regular; to read one may take until it has something to say.
    if (stat.size === 0 && /^\/(proc|sys|dev)\//.test(realpathSync(file)))
      throw new Error("it is a file of the kernel");
    return use({ fd, size: stat.size });
  } finally {
    closeSync(fd);
  }
}

export interface Read {
  readonly bytes: Buffer;
  /** It is larger than may be read: this is how it begins. */
  readonly tooLarge: boolean;
}

const HEAD_BYTES = 64 * 1024;

/** As many bytes as there were when it was opened. */
export function readOpened({ fd, size }: Opened, most: number = MAX_BYTES): Read {
  const tooLarge = size > most;
  const wanted = tooLarge ? HEAD_BYTES : size;
  const bytes = Buffer.allocUnsafe(wanted);
  let length = 0;
  while (length < wanted) {
    const read = readSync(fd, bytes, length, wanted - length, length);
    if (read === 0) break;
    length += read;
  }
  return { bytes: bytes.subarray(0, length), tooLarge };
}
