import type { Clock } from "#lib/clock.ts";
import type { ContainerSpec, HookAction, ProbeSpec } from "./container-spec.ts";
import { explainExit, listenersOf, misplaced } from "./listening.ts";
import { watchProbe } from "./probe.ts";
import { act, type ProbeTarget } from "./probe-actions.ts";
import { type Exit, KUBERNETES_RESTART, type Launch, Supervised } from "./process.ts";
import type { RestartPolicy } from "./spec.ts";

export interface ContainerHost {
  readonly clock: Clock;
  readonly logFile: string;
  readonly graceSeconds: number;
  /** Of this machine; where the command has its own namespaces it changes there by itself. */
  readonly cwd: string;
  /** The kernel ended a process of it since the last call. */
  readonly outOfMemory: () => boolean;
  /** Anew for each start; throws when something is awaited. */
  readonly launch: () => Launch;
  readonly target: ProbeTarget;
  /** Explicit mode: where it must listen, and the ports that its proxy looks for. Undefined: anywhere. */
  readonly listens: { readonly appIp: string; readonly ports: readonly number[] } | undefined;
  readonly changed: () => void;
  readonly warn: (message: string) => void;
}

export type ContainerRole = "init" | "sidecar" | "main";

/** A hook or a probe must not hold a container for ever; the kubelet has no bound for postStart, we have. */
const POST_START_MS = 10 * 60_000;
/** A kubelet leaves a container at least this long after its preStop hook. */
const LEAST_GRACE_MS = 2_000;
/** When an app is looked at that may listen on the wrong address. */
const LOOK_AFTER_MS = [500, 2_000, 10_000];

/** One container of a pod: its process, hooks and probes. */
export class Container {
  readonly spec: ContainerSpec;
  readonly role: ContainerRole;
  readonly process: Supervised;
  readonly #host: ContainerHost;
  #cancels: (() => void)[] = [];
  #watched: number | undefined;
  #ready = false;
  #started = false;
  /** What a probe said last; "" = success, or not asked yet. */
  #fault = "";
  /** For people: it runs, but not as it should. */
  hint: string | undefined;

  constructor(spec: ContainerSpec, role: ContainerRole, restart: RestartPolicy, host: ContainerHost) {
    this.spec = spec;
    this.role = role;
    this.#host = host;
    this.process = new Supervised(
      {
        name: spec.name,
        command: spec.command,
        env: {},
        cwd: host.cwd,
        launch: host.launch,
        logFile: host.logFile,
        restart:
          role === "sidecar" ? "Always" : role === "init" && restart === "Always" ? "OnFailure" : restart,
        stopSignal: spec.stopSignal,
        ...KUBERNETES_RESTART,
      },
      host.clock,
      () => this.#follow(),
    );
    this.process.explain = (exit) => this.#explain(exit);
  }

  get ready(): boolean {
    return this.#ready;
  }
  /** It ran, and its startup probe succeeded: what waits for a sidecar goes on. */
  get started(): boolean {
    return this.#started;
  }
  get done(): boolean {
    return this.process.state === "ended";
  }

  start(): void {
    this.process.start();
  }

  /** In words, what stands between it and being ready; "" = nothing. */
  get waitsFor(): string {
    const { state, awaits, lastExit } = this.process;
    if (awaits !== undefined) return awaits;
    if (state === "ended") return this.process.exit?.code === 0 ? "completed" : `ended: ${lastExit}`;
    if (state === "waiting") return `restarts after ${lastExit ?? "a failed start"}`;
    if (state === "stopped") return "not started yet";
    if (this.#ready) return this.hint ?? "";
    if (this.hint !== undefined) return this.hint;
    const probe = this.#started ? "readiness probe" : "startup probe";
    return this.#fault === "" ? (this.#started ? "" : "starts") : `${probe}: ${this.#fault}`;
  }

  #follow(): void {
    const { state, pid } = this.process;
    if (state === "running" && pid !== this.#watched) {
      this.#watched = pid;
      this.#cancel();
      this.#fault = "";
      this.hint = undefined;
      void this.#begin(pid);
    } else if (state !== "running") {
      this.#watched = undefined;
      this.#cancel();
      this.#started = false;
      this.#ready = false;
    }
    this.#host.changed();
  }

  async #begin(pid: number | undefined): Promise<void> {
    this.#lookWhereItListens(pid);
    const { postStart, startup } = this.spec;
    if (postStart !== undefined) {
      const fault = await this.#hook(postStart, POST_START_MS);
      if (this.#watched !== pid || pid === undefined) return;
      if (fault !== undefined) return this.#kill(`postStart hook: ${fault}`, undefined);
    }
    if (startup === undefined) return this.#run();
    this.#probe(startup, true, (ok, why) =>
      ok ? this.#run() : this.#kill(`startup probe: ${why}`, startup.graceSeconds),
    );
  }

  #run(): void {
    this.#started = true;
    const { readiness, liveness } = this.spec;
    if (liveness !== undefined)
      this.#probe(liveness, false, (ok, why) => {
        if (!ok) this.#kill(`liveness probe: ${why}`, liveness.graceSeconds);
      });
    if (readiness === undefined) this.#setReady(true);
    else this.#probe(readiness, true, (ok) => this.#setReady(ok));
    this.#host.changed();
  }

  #probe(spec: ProbeSpec, eager: boolean, changed: (ok: boolean, why: string) => void): void {
    this.#cancels.push(
      watchProbe(
        spec,
        this.#host.target,
        {
          changed,
          noted: (note) => this.#host.warn(`${this.spec.name}: ${note}`),
          attempted: (fault) => {
            // Liveness says what it has to say by killing.
            if (!eager || fault === this.#fault) return;
            this.#fault = fault;
            this.#host.changed();
          },
        },
        eager,
      ),
    );
  }

  #setReady(ready: boolean): void {
    if (this.#ready === ready) return;
    this.#ready = ready;
    this.#host.changed();
  }

  #kill(reason: string, graceSeconds: number | undefined): void {
    this.#cancel();
    this.#setReady(false);
    void this.#preStop((graceSeconds ?? this.#host.graceSeconds) * 1000).then((ms) =>
      this.process.kill(reason, ms),
    );
  }

  /** What of the grace time the hook left. */
  async #preStop(graceMs: number): Promise<number> {
    const { preStop } = this.spec;
    if (preStop === undefined || graceMs === 0) return graceMs;
    const began = this.#host.clock.monotonic();
    const fault = await this.#hook(preStop, graceMs);
    if (fault !== undefined) this.#host.warn(`${this.spec.name}: preStop hook: ${fault}`);
    return Math.max(LEAST_GRACE_MS, graceMs - (this.#host.clock.monotonic() - began));
  }

  /** Undefined: it went well. */
  async #hook(action: HookAction, timeoutMs: number): Promise<string | undefined> {
    if (action.kind !== "sleep") return (await act(action, this.#host.target, timeoutMs)).fault;
    await new Promise<void>((resolve) => {
      this.#host.clock.after(Math.min(timeoutMs, action.seconds * 1000), resolve);
    });
    return undefined;
  }

  /** preStop, SIGTERM, and after the grace time SIGKILL. */
  async stop(graceMs: number): Promise<void> {
    this.#cancel();
    const left = this.process.state === "running" ? await this.#preStop(graceMs) : graceMs;
    await this.process.stop(left);
  }

  #cancel(): void {
    for (const cancel of this.#cancels) cancel();
    this.#cancels = [];
  }

  #explain({ code, reason }: Exit): string | undefined {
    const { listens, outOfMemory } = this.#host;
    if (outOfMemory()) return `OOMKilled: it took more than limits.memory, ${this.spec.limits.memory} bytes`;
    const tail = this.process.log.tail(4096);
    const why = listens && explainExit(tail, listens.appIp);
    if (why !== undefined) {
      this.hint = why;
      // Also while it is tried again.
      this.#host.warn(`${this.spec.name}: ${why}`);
      return `${reason}: ${why}`;
    }
    // What could not even be begun was said by our tools, last.
    return code >= 125 && code <= 127 ? `${reason}: ${tail.trim().split("\n").at(-1)}` : undefined;
  }

  /** It says nothing by itself when it listens where nobody asks. */
  #lookWhereItListens(pid: number | undefined): void {
    const { listens, clock } = this.#host;
    if (listens === undefined || pid === undefined) return;
    for (const ms of LOOK_AFTER_MS)
      this.#cancels.push(
        clock.after(ms, () => {
          const hint = misplaced(listenersOf(pid), listens.ports, listens.appIp);
          if (hint === this.hint) return;
          this.hint = hint;
          this.#host.changed();
        }),
      );
  }
}
