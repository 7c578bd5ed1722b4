import { readdirSync, readFileSync } from "node:fs";

/** User and system CPU seconds of a process and everything below it, from /proc (proc(5), fields 14 and 15). */
export function cpuSeconds(pid: number): number {
  const children = childrenOf();
  let ticks = 0;
  const add = (id: number): void => {
    ticks += ticksOf(id);
    for (const child of children.get(id) ?? []) add(child);
  };
  add(pid);
  return ticks / 100; // USER_HZ is 100 on every Linux that Node runs on
}

/**
 * Resident set in MiB, with everything below it. `own`: without what is mapped from files, such as the program itself,
 * which all proxies of a machine share (proc(5), statm).
 */
export function memoryMiB(pid: number): { resident: number; own: number } {
  const children = childrenOf();
  const pages = { resident: 0, shared: 0 };
  const add = (id: number): void => {
    const [, resident = 0, shared = 0] = read(`/proc/${id}/statm`).split(" ").map(Number);
    pages.resident += resident;
    pages.shared += shared;
    for (const child of children.get(id) ?? []) add(child);
  };
  add(pid);
  const mib = (count: number): number => (count * 4096) / 2 ** 20;
  return { resident: mib(pages.resident), own: mib(pages.resident - pages.shared) };
}

/** The child that runs this program, or the process itself: Envoy without the agent that starts it. */
export function childNamed(pid: number, name: string): number {
  const child = (childrenOf().get(pid) ?? []).find((id) => read(`/proc/${id}/comm`).startsWith(name));
  return child ?? pid;
}

function childrenOf(): Map<number, number[]> {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const parent = Number(fields(read(`/proc/${name}/stat`))[1]);
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  return children;
}

function ticksOf(pid: number): number {
  const after = fields(read(`/proc/${pid}/stat`));
  return Number(after[11] ?? 0) + Number(after[12] ?? 0);
}

/** What follows the command name, which may hold spaces and brackets: state, ppid, ... */
function fields(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // the process ended in between
  }
}
