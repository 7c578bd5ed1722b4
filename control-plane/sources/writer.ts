import { createRequire } from "node:module";

type Fcntl = (fd: number, command: number, type: string, value: number) => number;
interface Native {
  readonly fcntl: Fcntl;
  readonly errno: () => number;
}
let native: Native | "none" | undefined;

// linux/fcntl.h
const F_SETSIG = 10;
const F_SETLEASE = 1024;
const F_RDLCK = 0;
const F_UNLCK = 2;
const EAGAIN = 11;
/** By default ignored: a writer that comes in the microseconds of the lease must not end this process by SIGIO. */
const SIGURG = 23;

/**
 * Does any process have this file, open here for reading, open for writing? Null where nobody can say: not Linux, a
 * file of another user, a network file system. A read lease (fcntl(2)) is refused while there is a writer; it is given
 * back at once. About 30 us.
 */
export function hasWriter(fd: number): boolean | null {
  native ??= load();
  if (native === "none") return null;
  native.fcntl(fd, F_SETSIG, "int", SIGURG);
  if (native.fcntl(fd, F_SETLEASE, "int", F_RDLCK) === 0) {
    native.fcntl(fd, F_SETLEASE, "int", F_UNLCK);
    return false;
  }
  return native.errno() === EAGAIN ? true : null;
}

function load(): Native | "none" {
  if (process.platform !== "linux") return "none";
  try {
    const koffi = createRequire(import.meta.url)("koffi") as typeof import("koffi");
    const fcntl = koffi.load(null).func("int fcntl(int fd, int command, ...)") as Fcntl;
    return { fcntl, errno: () => koffi.errno() };
  } catch {
    return "none";
  }
}
