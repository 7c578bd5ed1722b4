import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import type { Clock } from "#lib/clock.ts";

export interface ProcessSpec {
  readonly name: string;
  readonly command: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly logFile: string;
  /** Waits before the 1st, 2nd, ... restart in ms; the last repeats. */
  readonly restartWaits: readonly number[];
  /** After this long without a crash the waits begin again. */
  readonly resetAfterMs: number;
}

/** The first restart is fast; then as Kubernetes: 10 s doubled up to 5 min, forgotten after 10 min. */
export const KUBERNETES_RESTART = {
  restartWaits: [100, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000],
  resetAfterMs: 600_000,
};
/** For our own machines, whose absence costs the whole mesh. */
export const MACHINE_RESTART = { restartWaits: [50, 200, 500, 1_000, 2_000, 5_000], resetAfterMs: 30_000 };

export type ProcessState = "running" | "waiting" | "stopped";

/** One process that is kept running, in its own process group, with stdout and stderr appended to a file. */
export class Supervised {
  readonly spec: ProcessSpec;
  readonly #clock: Clock;
  readonly #onChange: () => void;
  #child: ChildProcess | undefined;
  #cancelRestart: (() => void) | undefined;
  #crashes = 0;
  #startedAt = 0;
  #wanted = false;
  #exited: Promise<void> = Promise.resolve();
  restarts = 0;
  lastExit: string | undefined;

  constructor(spec: ProcessSpec, clock: Clock, onChange: () => void) {
    this.spec = spec;
    this.#clock = clock;
    this.#onChange = onChange;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }
  get state(): ProcessState {
    if (this.#child !== undefined) return "running";
    return this.#wanted ? "waiting" : "stopped";
  }

  start(): void {
    this.#wanted = true;
    this.#spawn();
  }

  #spawn(): void {
    this.#cancelRestart = undefined;
    const log = openLog(this.spec.logFile);
    const [file = "", ...args] = this.spec.command;
    const child = spawn(file, args, {
      cwd: this.spec.cwd,
      env: this.spec.env,
      stdio: ["ignore", log, log],
      detached: true,
    });
    if (log !== "ignore") closeSync(log);
    this.#child = child;
    this.#startedAt = this.#clock.monotonic();
    this.#exited = new Promise((resolve) => {
      const ended = (reason: string): void => {
        if (this.#child !== child) return;
        this.#child = undefined;
        this.lastExit = reason;
        // What the program started and left behind goes with it.
        if (child.pid !== undefined) killGroup(child.pid, "SIGKILL");
        if (this.#wanted) this.#scheduleRestart();
        resolve();
        this.#onChange();
      };
      child.once("error", (error) => ended(`could not start ${file}: ${error.message}`));
      child.once("exit", (code, signal) => ended(signal === null ? `exit code ${code}` : `signal ${signal}`));
    });
    this.#onChange();
  }

  #scheduleRestart(): void {
    if (this.#clock.monotonic() - this.#startedAt > this.spec.resetAfterMs) this.#crashes = 0;
    const waits = this.spec.restartWaits;
    const wait = waits[Math.min(this.#crashes, waits.length - 1)] ?? 0;
    this.#crashes++;
    this.#cancelRestart = this.#clock.after(wait, () => {
      this.restarts++;
      this.#spawn();
    });
  }

  /** Kills it and lets the restart rule bring it back (a failed liveness probe). */
  kill(reason: string): void {
    this.lastExit = reason;
    if (this.#child?.pid !== undefined) killGroup(this.#child.pid, "SIGKILL");
  }

  /** SIGTERM to the group, SIGKILL after the grace time; resolves when it is gone. */
  async stop(graceMs: number): Promise<void> {
    this.#wanted = false;
    this.#cancelRestart?.();
    const pid = this.#child?.pid;
    if (pid === undefined) return;
    killGroup(pid, "SIGTERM");
    const cancel = this.#clock.after(graceMs, () => killGroup(pid, "SIGKILL"));
    await this.#exited;
    cancel();
  }
}

/** Without its log (folder gone, disk full) a process still runs. */
function openLog(file: string): number | "ignore" {
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    return openSync(file, "a", 0o600);
  } catch {
    return "ignore";
  }
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Already gone.
  }
}
