import { readFileSync } from "node:fs";
import { allProcesses, TICKS_PER_SECOND } from "./leftovers.ts";

/** getconf PAGESIZE of every Linux that we run on but some arm64 ones; Node has no way to ask. */
const PAGE_BYTES = 4096;

export interface Usage {
  /** Seconds of CPU since its beginning, of what it started and waited for, too. */
  readonly cpuSeconds: number;
  /** Bytes that are resident now. */
  readonly memory: number;
}

interface Process {
  readonly parent: number;
  readonly group: number;
  readonly usage: Usage;
}

/**
 * What the given processes use, each with its descendants and its process group (proc(5), stat). Of one that is gone:
 * nothing. One look at /proc serves all.
 */
export function usageOf(roots: readonly number[]): Map<number, Usage> {
  const processes = new Map<number, Process>();
  for (const pid of allProcesses()) {
    const process = readStat(pid);
    if (process !== undefined) processes.set(pid, process);
  }
  const wanted = new Set(roots);
  const result = new Map<number, Usage>();
  for (const [pid, { group, usage }] of processes) {
    const root = rootOf(pid, processes, wanted) ?? (wanted.has(group) ? group : undefined);
    if (root === undefined) continue;
    const sum = result.get(root) ?? { cpuSeconds: 0, memory: 0 };
    result.set(root, {
      cpuSeconds: sum.cpuSeconds + usage.cpuSeconds,
      memory: sum.memory + usage.memory,
    });
  }
  return result;
}

function rootOf(
  pid: number,
  processes: ReadonlyMap<number, Process>,
  wanted: ReadonlySet<number>,
): number | undefined {
  // A process that ended between two reads may break the chain, never close it; 100 is deeper than any.
  for (let at = pid, steps = 0; at > 1 && steps < 100; at = processes.get(at)?.parent ?? 0, steps++)
    if (wanted.has(at)) return at;
  return undefined;
}

function readStat(pid: number): Process | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // From the third field on; the command name may hold spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const field = (number: number): number => Number(fields[number - 3]);
    const ticks = field(14) + field(15) + field(16) + field(17);
    return {
      parent: field(4),
      group: field(5),
      usage: { cpuSeconds: ticks / TICKS_PER_SECOND, memory: field(24) * PAGE_BYTES },
    };
  } catch {
    return undefined;
  }
}
