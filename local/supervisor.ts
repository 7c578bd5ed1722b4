/** The process that runs a mesh, known by a file in the state directory. */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { killLeftovers, startTime } from "./leftovers.ts";
import { PlatformError } from "./object.ts";
import { writeAtomic } from "./tokens.ts";

/** What lives only as long as the mesh. */
const POD_TRANSIENT = ["admin.sock", "sds.sock", "token"];
const TRANSIENT = [
  "xds.sock",
  "admin.sock",
  "otlp.sock",
  "network.sock",
  "egress.sock",
  "platform.sock",
  "platform.json",
];

/** supervisor.json: the pid with its start time, so that a pid that was given anew is not taken for it. */
export function saveSupervisor(stateDir: string, facts: object): void {
  const { pid } = process;
  writeAtomic(
    join(stateDir, "supervisor.json"),
    JSON.stringify({ pid, startTime: startTime(pid), ...facts }, undefined, 1),
  );
}

/** The pid of the supervisor of this state directory, if that very process still lives. */
function runningSupervisor(stateDir: string): number | undefined {
  const file = join(stateDir, "supervisor.json");
  if (!existsSync(file)) return undefined;
  try {
    const saved = JSON.parse(readFileSync(file, "utf8")) as { pid: number; startTime: string };
    return startTime(saved.pid) === saved.startTime ? saved.pid : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a mesh runs with this state directory. */
export function isRunning(stateDir: string): boolean {
  return runningSupervisor(stateDir) !== undefined;
}

/** Throws a PlatformError when the mesh runs, in another process. */
export function refuseSecond(stateDir: string): void {
  const running = runningSupervisor(stateDir);
  if (running !== undefined && running !== process.pid)
    throw new PlatformError(
      `a mesh already runs in ${stateDir} (pid ${running}): stop it with "weft down" or choose another with --mesh`,
    );
}

/** Refuses when the mesh runs; otherwise cleans what a killed supervisor left. */
export async function takeOver(stateDir: string): Promise<void> {
  refuseSecond(stateDir);
  await sweep(stateDir);
}

/** Ends what is left of the mesh and removes what would speak for it; the pids that were ended. */
export async function sweep(stateDir: string): Promise<number[]> {
  const killed = await killLeftovers(stateDir);
  for (const name of TRANSIENT) rmSync(join(stateDir, name), { force: true });
  const pods = join(stateDir, "pods");
  for (const pod of existsSync(pods) ? readdirSync(pods) : [])
    for (const name of POD_TRANSIENT) rmSync(join(pods, pod, name), { force: true });
  return killed;
}

/** `weft down`: asks the supervisor to stop and waits; then nothing of the mesh is left. False: nothing ran. */
export async function stopRunning(stateDir: string, timeoutMs = 60_000): Promise<boolean> {
  const pid = runningSupervisor(stateDir);
  if (pid !== undefined && pid !== process.pid) {
    process.kill(pid, "SIGTERM");
    const deadline = performance.now() + timeoutMs;
    while (runningSupervisor(stateDir) === pid && performance.now() < deadline) await delay(20);
    if (runningSupervisor(stateDir) === pid) process.kill(pid, "SIGKILL");
  }
  const killed = await sweep(stateDir);
  rmSync(join(stateDir, "supervisor.json"), { force: true });
  return pid !== undefined || killed.length > 0;
}
