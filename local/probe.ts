import type { ProbeSpec } from "./container-spec.ts";
import { act, type ProbeTarget } from "./probe-actions.ts";

export interface ProbeListener {
  /** A threshold was passed. */
  changed(ok: boolean, reason: string): void;
  /** Every attempt; "" = success. */
  attempted(reason: string): void;
  /** It succeeded, but not as was meant; each once. */
  noted(note: string): void;
}

/** Repeats a probe until cancelled; `eager` (readiness, startup) asks often until the first success. */
export function watchProbe(
  spec: ProbeSpec,
  target: ProbeTarget,
  listener: ProbeListener,
  eager: boolean,
): () => void {
  let cancelled = false;
  let ok = 0;
  let failed = 0;
  let last: boolean | undefined;
  let timer: NodeJS.Timeout;
  const notes = new Set<string>();
  const began = performance.now();
  const round = async (): Promise<void> => {
    const { fault, note } = await act(spec.action, target, spec.timeoutSeconds * 1000);
    if (cancelled) return;
    if (note !== undefined && !notes.has(note)) {
      notes.add(note);
      listener.noted(note);
    }
    if (fault === undefined) {
      ok++;
      failed = 0;
    } else {
      // What is asked more often than was written must not fail the sooner for it.
      if (!eager || last === true || performance.now() - began >= failed * spec.periodSeconds * 1000)
        failed++;
      ok = 0;
    }
    listener.attempted(fault ?? "");
    const now = ok >= spec.successThreshold ? true : failed >= spec.failureThreshold ? false : last;
    if (now !== undefined && now !== last) {
      last = now;
      listener.changed(now, fault ?? "");
      if (cancelled) return;
    }
    // Until the first success the wait is short: a mesh on a laptop should not idle for ten seconds.
    const period = eager && last !== true ? Math.min(spec.periodSeconds, 0.2) : spec.periodSeconds;
    timer = setTimeout(round, period * 1000);
  };
  timer = setTimeout(round, spec.initialDelaySeconds * 1000);
  return () => {
    cancelled = true;
    clearTimeout(timer);
  };
}
