import { spawn } from "node:child_process";
import { request } from "node:http";
import type { Socket } from "node:net";
import type { PodNetwork } from "./network/network.ts";
import type { ProbeAction, ProbeSpec } from "./spec.ts";

export interface ProbeTarget {
  readonly network: PodNetwork;
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
}

/** One attempt; undefined = success, otherwise the reason. Never throws. HTTP succeeds from 200 to 399, as Kubernetes. */
async function probeOnce(spec: ProbeSpec, target: ProbeTarget): Promise<string | undefined> {
  const { action } = spec;
  const timeoutMs = spec.timeoutSeconds * 1000;
  if (action.kind === "exec") return probeExec(action.command, target, timeoutMs);
  let socket: Socket | undefined;
  let late = false;
  const timer = Promise.withResolvers<string>();
  const timeout = setTimeout(() => {
    late = true;
    socket?.destroy();
    timer.resolve(`no ${action.kind === "tcp" ? "connection" : "answer"} in ${timeoutMs} ms`);
  }, timeoutMs);
  const attempt = async (): Promise<string | undefined> => {
    socket = await target.network.probe(action.port);
    socket.on("error", () => {});
    if (late || action.kind === "tcp") return void socket.destroy();
    return probeHttp(action, target.env["POD_IP"] ?? "localhost", socket);
  };
  try {
    return await Promise.race([attempt(), timer.promise]);
  } catch (error) {
    return (error as Error).message;
  } finally {
    clearTimeout(timeout);
  }
}

function probeHttp(
  action: Extract<ProbeAction, { kind: "http" }>,
  host: string,
  socket: Socket,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    const headers = { "user-agent": "weft-probe", ...action.headers } as Record<string, string>;
    const { path, port } = action;
    const req = request({ host, port, path, headers, createConnection: () => socket }, (res) => {
      res.resume();
      res.on("close", () => socket.destroy());
      const status = res.statusCode ?? 0;
      resolve(status >= 200 && status < 400 ? undefined : `GET ${path} answered ${status}`);
    });
    // Through the relay it comes paused.
    req.on("socket", () => socket.resume());
    req.on("error", (error) => resolve(error.message));
    req.end();
  });
}

function probeExec(
  command: readonly string[],
  { network, env, cwd }: ProbeTarget,
  timeout: number,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    const [file = "", ...args] = network.enter(command, cwd);
    const child = spawn(file, args, { cwd, env, stdio: "ignore", timeout, killSignal: "SIGKILL" });
    child.on("error", (error) => resolve(error.message));
    child.on("exit", (code) => resolve(code === 0 ? undefined : `exit code ${code}`));
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
