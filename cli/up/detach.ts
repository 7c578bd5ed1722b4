/** `weft up --detach`: the same command in a process of its own, which outlives the terminal. */
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { MACHINE_FLAGS, type PlatformStatus, refuseSecond } from "#local/index.ts";
import { UserError } from "../errors.ts";

const MAIN = fileURLToPath(new URL("../main.ts", import.meta.url));

/**
 * Resolves with the status that the mesh prints when it is ready. Progress and errors of the child go to `logFile`.
 * PlatformError where a mesh runs already: the log is its own.
 */
export async function startDetached(
  args: readonly string[],
  stateDir: string,
  cwd: string,
  env: NodeJS.ProcessEnv,
): Promise<{ status: PlatformStatus; logFile: string }> {
  refuseSecond(stateDir);
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const logFile = join(stateDir, "supervisor.log");
  writeFileSync(logFile, "", { mode: 0o600 });
  const log = openSync(logFile, "a"); // two that start at once do not write over each other
  const child = spawn(process.execPath, [...MACHINE_FLAGS, MAIN, "up", ...args, "-o", "json"], {
    cwd,
    env,
    detached: true, // a session of its own: Ctrl-C and a closed terminal do not reach it
    stdio: ["ignore", "pipe", log],
  });
  closeSync(log);
  const interrupt = (): void => void child.kill("SIGTERM");
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, interrupt);
  let out = "";
  const text = await new Promise<string>((done, fail) => {
    child.stdout!.setEncoding("utf8").on("data", (chunk: string) => {
      out += chunk;
      if (out.endsWith("\n}\n")) done(out);
    });
    child.once("error", (error) => fail(new UserError(`the mesh could not be started: ${error.message}`)));
    child.once("close", () => fail(new UserError(reason(logFile))));
  });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, interrupt);
  child.stdout!.destroy();
  child.unref();
  return { status: JSON.parse(text) as PlatformStatus, logFile };
}

/** What the child said last, from its "error:" on. */
function reason(logFile: string): string {
  const text = readFileSync(logFile, "utf8").trim();
  const at = text.lastIndexOf("error: ");
  return at === -1 ? `the mesh ended while it started; its log is ${logFile}` : text.slice(at + 7);
}
