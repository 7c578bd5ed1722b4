/**
 * Limits of memory and CPU (resources.limits) where this machine lets us set them: in cgroup v2 beside our own group, where
 * a delegated group or root gives us that, and in v1 below it.
 */
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Limits } from "./container-spec.ts";

const ROOT = "/sys/fs/cgroup";
/** Microseconds, as the kernel's default. */
const PERIOD = 100_000;

/** A group for one container. */
export class Cgroup {
  /** Where a process writes itself in. */
  readonly procs: readonly string[];
  readonly #dirs: readonly string[];
  readonly #oomFile: string | undefined;
  #killed = 0;

  constructor(dirs: readonly string[], oomFile: string | undefined) {
    this.#dirs = dirs;
    this.procs = dirs.map((dir) => join(dir, "cgroup.procs"));
    this.#oomFile = oomFile;
  }

  /** True once for each time that the kernel ended one of it for want of memory. */
  wasOutOfMemory(): boolean {
    if (this.#oomFile === undefined) return false;
    const kills = Number(/^oom_kill (\d+)$/m.exec(read(this.#oomFile))?.[1] ?? 0);
    const more = kills > this.#killed;
    this.#killed = kills;
    return more;
  }

  remove(): void {
    for (const dir of this.#dirs) {
      try {
        rmdirSync(dir);
      } catch {
        // A process of it is not quite gone: an empty group costs nothing and is taken again.
      }
    }
  }
}

/** The group, or in words why the limits cannot be set. */
export function makeCgroup(name: string, limits: Limits): Cgroup | { readonly obstacle: string } {
  if (process.platform !== "linux") return { obstacle: "limits need the cgroups of Linux" };
  const own = read("/proc/self/cgroup").trim().split("\n");
  try {
    return version2(name, limits, own) ?? version1(name, limits, own);
  } catch (error) {
    const { code, path } = error as NodeJS.ErrnoException;
    return { obstacle: `this user may not make cgroups here (${path ?? ROOT}: ${code})` };
  }
}

/** Null: the controllers are not in v2. */
function version2(name: string, limits: Limits, own: readonly string[]): Cgroup | null {
  const path = own.find((line) => line.startsWith("0::"))?.slice(3);
  if (path === undefined || !read(join(ROOT, "cgroup.controllers")).includes("memory")) return null;
  // Processes and controllers exclude each other in one group: beside ours, not in it (cgroup-v2.rst, "no internal process").
  const parent = path === "/" ? ROOT : join(ROOT, path, "..");
  const wanted = [
    ...(limits.memory === undefined ? [] : ["memory"]),
    ...(limits.cpu === undefined ? [] : ["cpu"]),
  ];
  const has = read(join(parent, "cgroup.subtree_control")).trim().split(" ");
  const missing = wanted.filter((controller) => !has.includes(controller));
  if (missing.length > 0)
    writeFileSync(join(parent, "cgroup.subtree_control"), missing.map((c) => `+${c}`).join(" "));
  const dir = join(parent, name);
  mkdirSync(dir, { recursive: true });
  if (limits.memory !== undefined) {
    writeFileSync(join(dir, "memory.max"), String(Math.floor(limits.memory)));
    tryWrite(join(dir, "memory.swap.max"), "0");
  }
  if (limits.cpu !== undefined)
    writeFileSync(join(dir, "cpu.max"), `${Math.round(limits.cpu * PERIOD)} ${PERIOD}`);
  return new Cgroup([dir], join(dir, "memory.events"));
}

function version1(name: string, limits: Limits, own: readonly string[]): Cgroup {
  const dirOf = (controller: string): string => {
    const line = own.find((l) => l.split(":")[1]?.split(",").includes(controller));
    const [, controllers = controller, path = "/"] = line?.split(":") ?? [];
    const dir = join(ROOT, controllers, path, name);
    mkdirSync(dir, { recursive: true });
    return dir;
  };
  const dirs: string[] = [];
  let oomFile: string | undefined;
  if (limits.memory !== undefined) {
    const dir = dirOf("memory");
    const bytes = String(Math.floor(limits.memory));
    writeFileSync(join(dir, "memory.limit_in_bytes"), bytes);
    tryWrite(join(dir, "memory.memsw.limit_in_bytes"), bytes);
    oomFile = join(dir, "memory.oom_control");
    dirs.push(dir);
  }
  if (limits.cpu !== undefined) {
    const dir = dirOf("cpu");
    writeFileSync(join(dir, "cpu.cfs_period_us"), String(PERIOD));
    writeFileSync(join(dir, "cpu.cfs_quota_us"), String(Math.round(limits.cpu * PERIOD)));
    dirs.push(dir);
  }
  return new Cgroup(dirs, oomFile);
}

/** The command, which first puts itself into the group. */
export function limited({ procs }: Cgroup, command: readonly string[]): readonly string[] {
  const join_ = procs.map((file) => `echo $$ >'${file.replaceAll("'", "'\\''")}'`).join(" && ");
  return ["sh", "-c", `${join_} && exec "$0" "$@"`, ...command];
}

/** Where there is no swap there is no file for it. */
function tryWrite(file: string, text: string): void {
  try {
    writeFileSync(file, text);
  } catch {}
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
