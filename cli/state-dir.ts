import { accessSync, constants, existsSync, mkdirSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { UserError } from "./errors.ts";

const NAME = /^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/;

/** Where a mesh keeps its sockets, keys and logs: `$XDG_STATE_HOME/weft/<name>`, by default under ~/.local/state. */
export function stateDir(mesh: string, env: NodeJS.ProcessEnv): string {
  if (!NAME.test(mesh)) {
    throw new UserError(
      `mesh name ${JSON.stringify(mesh)}: use lower-case letters, digits and "-", at most 40`,
    );
  }
  const base = env["XDG_STATE_HOME"] || join(env["HOME"] || homedir(), ".local", "state");
  const dir = join(base, "weft", mesh);
  // A Unix socket path holds 107 bytes (sockaddr_un); the longest below is a pod's admin socket.
  if (Buffer.byteLength(dir) > 50) {
    throw new UserError(
      `state directory ${dir} is too long for Unix sockets; set XDG_STATE_HOME to a shorter path`,
    );
  }
  return dir;
}

/** Makes it, readable by its owner only; one that others can reach is refused. A UserError says why it cannot be. */
export function makeStateDir(dir: string): void {
  try {
    make(dir);
    accessSync(dir, constants.W_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === "EACCES" || code === "EPERM" || code === "EROFS" ? "no permission to write" : code;
    throw new UserError(
      `state directory ${dir} cannot be used: ${why}; set XDG_STATE_HOME to a folder that can be written`,
    );
  }
  refuseOpen(dir, 0o077);
  refuseOpen(dirname(dir), 0o022);
}

/** Who can write there can put keys and policies of his own in the place of the mesh's, who can read has its keys. */
function refuseOpen(dir: string, forbidden: number): void {
  const { uid, mode } = statSync(dir);
  const me = process.getuid?.() ?? uid;
  if (uid !== me && uid !== 0)
    throw new UserError(
      `${dir} belongs to another user (${uid}), who could read or replace the keys of the mesh; set XDG_STATE_HOME to a folder of your own`,
    );
  if ((mode & forbidden) !== 0)
    throw new UserError(
      `${dir} is open to others (mode ${(mode & 0o7777).toString(8)}), and the mesh keeps its keys there: chmod 700 ${dir}, once you know that what is in it is yours`,
    );
}

/** Not mkdirSync's own recursion: it never returns for a folder below /proc. */
function make(dir: string): void {
  if (existsSync(dir)) return;
  make(dirname(dir));
  try {
    mkdirSync(dir, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}
