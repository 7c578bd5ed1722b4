import { lstatSync, rmSync } from "node:fs";
import { connect } from "node:net";

/** Makes way for a Unix socket: a dead one is removed; one that answers, or another file, is an error. */
export async function claimSocket(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isSocket()) throw new Error(`${path} exists and is not a socket`);
  const code = await new Promise<string>((done) => {
    const peer = connect(path, () => {
      peer.destroy();
      done("");
    });
    peer.on("error", (error: NodeJS.ErrnoException) => done(error.code ?? error.message));
  });
  if (code === "ECONNREFUSED") rmSync(path, { force: true });
  else if (code === "") throw new Error(`another process answers on ${path}: is this mesh already running?`);
  else if (code !== "ENOENT") throw new Error(`${path} is in the way and cannot be tried: ${code}`);
}
