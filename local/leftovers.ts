import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

/** Marks every process of a mesh in its environment, so that a new start finds what a killed one left behind. */
export const MARK = "WEFT_MESH_STATE";

/** proc(5): times in /proc/PID/stat count in clock ticks, of which Linux shows a hundred per second. */
export const TICKS_PER_SECOND = 100;

/** Start time in clock ticks since boot (proc(5), field 22): with the pid it names one process for ever. Undefined: no such process. */
export function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The command name may hold spaces and parentheses: fields are counted from the last one.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** Now, on the clock of `startTime`. */
export function uptimeTicks(): number {
  return Math.floor(Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]) * TICKS_PER_SECOND);
}

/**
 * Kills (SIGKILL) all processes of the mesh at `stateDir` that began at `beganUntil` or before, and returns their pids
 * when they are gone.
 */
export async function killLeftovers(
  stateDir: string,
  spare: ReadonlySet<number> = new Set(),
  beganUntil = Number.POSITIVE_INFINITY,
): Promise<number[]> {
  const found = meshProcesses(stateDir).filter(
    (pid) => pid !== process.pid && !spare.has(pid) && Number(startTime(pid)) <= beganUntil,
  );
  for (const pid of found) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // Gone in the meantime.
    }
  }
  const deadline = performance.now() + 5_000;
  while (found.some((pid) => startTime(pid) !== undefined) && performance.now() < deadline) await delay(10);
  return found;
}

/** Pids of all processes of this mesh, found by the mark in their environment (/proc); [] where there is no /proc. */
export function meshProcesses(stateDir: string): number[] {
  const mark = `${MARK}=${stateDir}`;
  return allProcesses().filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").includes(mark);
    } catch {
      // Another user's process, or gone.
      return false;
    }
  });
}

/** Pids of this machine; none where there is no /proc: then the state file alone must do. */
export function allProcesses(): number[] {
  try {
    return readdirSync("/proc")
      .filter((entry) => /^\d+$/.test(entry))
      .map(Number);
  } catch {
    return [];
  }
}
