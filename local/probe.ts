import { spawn } from "node:child_process";
import { request } from "node:http";
import { connect } from "node:net";
import type { ProbeSpec } from "./spec.ts";

export interface ProbeTarget {
  readonly host: string;
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
}

/** One attempt; undefined = success, otherwise the reason. Never throws. HTTP succeeds from 200 to 399, as Kubernetes. */
export function probeOnce(spec: ProbeSpec, target: ProbeTarget): Promise<string | undefined> {
  const timeout = spec.timeoutSeconds * 1000;
  const action = spec.action;
  return new Promise((resolve) => {
    if (action.kind === "http") {
      const req = request(
        {
          host: target.host,
          port: action.port,
          path: action.path,
          agent: false,
          timeout,
          headers: { "user-agent": "weft-probe", ...action.headers } as Record<string, string>,
        },
        (res) => {
          res.resume();
          const status = res.statusCode ?? 0;
          resolve(status >= 200 && status < 400 ? undefined : `GET ${action.path} answered ${status}`);
        },
      );
      req.on("timeout", () => req.destroy(new Error(`no answer in ${timeout} ms`)));
      req.on("error", (error) => resolve(error.message));
      req.end();
    } else if (action.kind === "tcp") {
      const socket = connect({ host: target.host, port: action.port, timeout });
      socket.on("connect", () => {
        socket.destroy();
        resolve(undefined);
      });
      socket.on("timeout", () => socket.destroy(new Error(`no connection in ${timeout} ms`)));
      socket.on("error", (error) => resolve(error.message));
    } else {
      const [file = "", ...args] = action.command;
      const child = spawn(file, args, {
        cwd: target.cwd,
        env: target.env,
        stdio: "ignore",
        timeout,
        killSignal: "SIGKILL",
      });
      child.on("error", (error) => resolve(error.message));
      child.on("exit", (code) => resolve(code === 0 ? undefined : `exit code ${code}`));
    }
  });
}

/** Repeats a probe until cancelled; `changed` hears of every passed threshold; `eager` (readiness) asks often until the first success. */
export function watchProbe(
  spec: ProbeSpec,
  target: ProbeTarget,
  changed: (ok: boolean, reason: string) => void,
  eager: boolean,
): () => void {
  let cancelled = false;
  let ok = 0;
  let failed = 0;
  let last: boolean | undefined;
  let timer: NodeJS.Timeout;
  const round = async (): Promise<void> => {
    const reason = await probeOnce(spec, target);
    if (cancelled) return;
    if (reason === undefined) {
      ok++;
      failed = 0;
    } else {
      failed++;
      ok = 0;
    }
    const now = ok >= spec.successThreshold ? true : failed >= spec.failureThreshold ? false : last;
    if (now !== undefined && now !== last) {
      last = now;
      changed(now, reason ?? "");
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
