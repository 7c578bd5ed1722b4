/** A mistake or circumstance that the person at the terminal can act on: printed as one line, never with a stack. */
export class UserError extends Error {
  readonly exitCode: number;
  constructor(message: string, exitCode = 1) {
    super(message);
    this.name = "UserError";
    this.exitCode = exitCode;
  }
}

export const EXIT = { ok: 0, failure: 1, usage: 2, interrupted: 130 } as const;

/** What a person can do about an error of the operating system; for others its own words must do. */
const REMEDY: Readonly<Record<string, string>> = {
  ENOSPC: "no space left on the disk: make room, `weft down --purge` of a mesh that is not used helps",
  EDQUOT: "the disk quota is used up: make room",
  EROFS: "the file system is read-only: set XDG_STATE_HOME to a folder that can be written",
  EACCES: "permission denied",
  EPERM: "not permitted",
  EMFILE: "too many open files: raise the limit with ulimit -n",
  ENFILE: "too many open files on this machine",
  ENOMEM: "not enough memory",
  EAGAIN: "no more processes or resources: raise the limit with ulimit -u, or end other programs",
  EADDRINUSE: "the address is in use",
  EADDRNOTAVAIL: "the address is not one of this machine",
  ENOENT: "no such file or program",
  ENOTDIR: "a part of the path is no folder",
  EISDIR: "it is a folder",
  EEXIST: "it is there already",
  ENAMETOOLONG: "the path is too long",
  ELOOP: "too many links one after the other",
  EIO: "the disk failed",
  ECONNREFUSED: "nothing listens there",
  ECONNRESET: "the other end broke off",
  ETIMEDOUT: "no answer in time",
};

/** One sentence for an error that the operating system gave (errno(3)); null for any other, which is ours. */
export function systemError(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  const { code, syscall, path, address, port } = error as NodeJS.ErrnoException & {
    address?: string;
    port?: number;
  };
  if (typeof code !== "string" || !/^E[A-Z0-9]+$/.test(code) || syscall === undefined)
    return error.cause === undefined ? null : systemError(error.cause);
  const what =
    path ?? (address === undefined ? syscall : `${address}${port === undefined ? "" : `:${port}`}`);
  return `${what}: ${REMEDY[code] ?? error.message} (${code})`;
}
