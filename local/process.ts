import { type ChildProcess, spawn } from "node:child_process";
import { closeSync } from "node:fs";
import { constants } from "node:os";
import type { Clock } from "#lib/clock.ts";
import { LogFile } from "./log-file.ts";

export interface Launch {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export interface ProcessSpec extends Launch {
  readonly name: string;
  readonly cwd: string;
  readonly logFile: string;
  /** Waits before the 1st, 2nd, ... restart in ms; the last repeats. */
  readonly restartWaits: readonly number[];
  /** After this long without a crash the waits begin again. */
  readonly resetAfterMs: number;
  /** Default Always. */
  readonly restart?: "Always" | "OnFailure" | "Never";
  /** Default SIGTERM. */
  readonly stopSignal?: NodeJS.Signals;
  /** Asked before each start instead of `command` and `env`; what it throws is why the process waits. */
  readonly launch?: () => Launch;
}

/** The first restart is fast; then as Kubernetes: 10 s doubled up to 5 min, forgotten after 10 min. */
export const KUBERNETES_RESTART = {
  restartWaits: [100, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000],
  resetAfterMs: 600_000,
};
/** For our own machines, whose absence costs the whole mesh. */
export const MACHINE_RESTART = { restartWaits: [50, 200, 500, 1_000, 2_000, 5_000], resetAfterMs: 30_000 };
/** What cannot be launched is tried again; mostly a change of objects does it earlier. */
const LAUNCH_RETRY_MS = 10_000;

/** "ended": it is not to be started again. */
export type ProcessState = "running" | "waiting" | "ended" | "stopped";

export interface Exit {
  /** As a shell has it: 128 + the signal's number when a signal ended it. */
  readonly code: number;
  /** For people: "exit code 1", "signal SIGKILL", "liveness probe: ...". */
  readonly reason: string;
}

/** One process that is kept running, in its own process group, with stdout and stderr appended to a file. */
export class Supervised {
  readonly spec: ProcessSpec;
  readonly log: LogFile;
  readonly #clock: Clock;
  readonly #onChange: () => void;
  #child: ChildProcess | undefined;
  #cancelRestart: (() => void) | undefined;
  #cancelKill: (() => void) | undefined;
  #crashes = 0;
  #startedAt = 0;
  #wanted = false;
  #ended = false;
  #killReason: string | undefined;
  #exited: Promise<void> = Promise.resolve();
  /** Explains an exit better than its number, when it can. */
  explain: (exit: Exit) => string | undefined = () => undefined;
  restarts = 0;
  exit: Exit | undefined;
  /** Why it could not even be launched; undefined when it could. */
  awaits: string | undefined;

  constructor(spec: ProcessSpec, clock: Clock, onChange: () => void) {
    this.spec = spec;
    this.log = new LogFile(spec.logFile);
    this.#clock = clock;
    this.#onChange = onChange;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }
  get state(): ProcessState {
    if (this.#child !== undefined) return "running";
    if (this.#ended) return "ended";
    return this.#wanted ? "waiting" : "stopped";
  }
  get lastExit(): string | undefined {
    return this.exit?.reason;
  }
  /** Monotonic ms. */
  get startedAt(): number {
    return this.#startedAt;
  }

  start(): void {
    this.#wanted = true;
    this.#spawn();
  }

  /** What it waited for may be there now. */
  retry(): void {
    if (this.awaits === undefined || !this.#wanted) return;
    this.#cancelRestart?.();
    this.#spawn();
  }

  #spawn(): void {
    this.#cancelRestart = undefined;
    let launch: Launch;
    try {
      launch = this.spec.launch?.() ?? this.spec;
      this.awaits = undefined;
    } catch (error) {
      this.awaits = (error as Error).message;
      this.#cancelRestart = this.#clock.after(LAUNCH_RETRY_MS, () => this.#spawn());
      this.#onChange();
      return;
    }
    const log = this.log.open();
    const [file = "", ...args] = launch.command;
    const child = spawn(file, args, {
      cwd: this.spec.cwd,
      env: launch.env,
      stdio: ["ignore", log, log],
      detached: true,
    });
    if (log !== "ignore") closeSync(log);
    this.log.watch();
    this.#child = child;
    this.#killReason = undefined;
    this.#startedAt = this.#clock.monotonic();
    this.#exited = new Promise((resolve) => {
      const ended = (code: number, reason: string): void => {
        if (this.#child !== child) return;
        this.#child = undefined;
        this.#cancelKill?.();
        this.#cancelKill = undefined;
        this.log.unwatch();
        this.#leave(code, reason, child.pid);
        resolve();
        this.#onChange();
      };
      child.once("error", (error) =>
        ended(127, `could not start ${file}: ${sayError(error, this.spec.cwd)}`),
      );
      child.once("exit", (code, signal) =>
        signal === null
          ? ended(code ?? 0, `exit code ${code}`)
          : ended(128 + constants.signals[signal], `signal ${signal}`),
      );
    });
    this.#onChange();
  }

  #leave(code: number, reason: string, pid: number | undefined): void {
    const exit = { code, reason: this.#killReason ?? reason };
    this.exit = this.#killReason === undefined ? { code, reason: this.explain(exit) ?? reason } : exit;
    // What the program started and left behind goes with it.
    if (pid !== undefined) killGroup(pid, "SIGKILL");
    if (!this.#wanted) return;
    const policy = this.spec.restart ?? "Always";
    if (policy === "Always" || (policy === "OnFailure" && code !== 0)) this.#scheduleRestart();
    else this.#ended = true;
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

  /** Ends it (SIGTERM, after the grace time SIGKILL) and lets the restart rule decide, as after a failed liveness probe. */
  kill(reason: string, graceMs = 0): void {
    const pid = this.#child?.pid;
    if (pid === undefined || this.#killReason !== undefined) return;
    this.#killReason = reason;
    this.#end(pid, graceMs);
  }

  #end(pid: number, graceMs: number): void {
    this.#cancelKill?.();
    if (graceMs <= 0) {
      killGroup(pid, "SIGKILL");
      return;
    }
    killGroup(pid, this.spec.stopSignal ?? "SIGTERM");
    this.#cancelKill = this.#clock.after(graceMs, () => killGroup(pid, "SIGKILL"));
  }

  /** SIGTERM to the group, SIGKILL after the grace time; resolves when it is gone. */
  async stop(graceMs: number): Promise<void> {
    this.#wanted = false;
    this.#cancelRestart?.();
    const pid = this.#child?.pid;
    if (pid === undefined) return;
    this.#end(pid, graceMs);
    await this.#exited;
  }
}

/** Node names the program also where the folder is missing. */
function sayError(error: Error, cwd: string): string {
  return (error as NodeJS.ErrnoException).code === "ENOENT"
    ? `no such program on PATH, or no folder ${cwd}`
    : error.message;
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Already gone.
  }
}
