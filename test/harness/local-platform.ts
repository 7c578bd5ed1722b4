/** The local platform in this process, without proxies: real pods that are as cheap as can be (`sleep`), for its logic. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach } from "vitest";
import type { WorkloadStatus } from "#local/contract.ts";
import { type Platform, type PlatformObject, type PlatformOptions, startPlatform } from "#local/index.ts";

export interface LocalPlatform {
  /** A fresh folder per test; manifests stand in it, programs run in it. */
  readonly dir: string;
  readonly stateDir: string;
  readonly platform: Platform;
  start(objects: readonly PlatformObject[], over?: Partial<PlatformOptions>): Promise<Platform>;
  /** Ends the supervisor as `weft down` does; the state stays. */
  stop(): Promise<void>;
  workload(name: string, kind?: string): WorkloadStatus;
  /** Names of pods that do not end, sorted. */
  pods(workload: string): string[];
  /** Asks platform.sock; rejects with its sentence when it refuses. */
  ask<T>(method: "GET" | "POST" | "DELETE", path: string, body?: object): Promise<T>;
  /** Makes a file that a program or a probe waits for. */
  touch(name: string): void;
}

export function localPlatform(): LocalPlatform {
  let dir = "";
  let current: Platform | undefined;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "weft-local-"));
  });
  afterEach(async () => {
    await current?.stop();
    current = undefined;
    rmSync(dir, { recursive: true, force: true });
  });
  const local: LocalPlatform = {
    get dir() {
      return dir;
    },
    get stateDir() {
      return join(dir, "s");
    },
    get platform() {
      if (current === undefined) throw new Error("not started");
      return current;
    },
    async start(objects, over = {}) {
      const { stateDir } = local;
      current = await startPlatform({
        objects,
        stateDir,
        mode: "explicit",
        dataPlane: "none",
        drainMs: 0,
        ...over,
        onChange: () => {
          if (current !== undefined) over.onChange?.();
        },
      });
      return current;
    },
    async stop() {
      await local.platform.stop();
      current = undefined;
    },
    workload(name, kind = "Deployment") {
      const found = local.platform.status().workloads.find((w) => w.name === name && w.kind === kind);
      if (found === undefined) throw new Error(`no ${kind} ${name}`);
      return found;
    },
    pods: (workload) =>
      local.platform
        .status()
        .pods.filter((p) => p.workload === workload && p.reason !== "Terminating")
        .map((p) => p.name)
        .sort(),
    ask: (method, path, body) => askSocket(join(local.stateDir, "platform.sock"), method, path, body),
    touch: (name) => writeFileSync(join(dir, name), ""),
  };
  return local;
}

function askSocket<T>(socketPath: string, method: string, path: string, body?: object): Promise<T> {
  return new Promise((resolve, reject) => {
    const req = request({ socketPath, method, path, agent: false }, (res) => {
      let text = "";
      res.setEncoding("utf8").on("data", (piece: string) => {
        text += piece;
      });
      res.on("end", () => {
        const value = JSON.parse(text);
        if (res.statusCode === 200) resolve(value);
        else reject(new Error(`${res.statusCode}: ${value.error}`));
      });
    });
    req.on("error", reject);
    req.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

export interface ManifestOptions {
  readonly kind?: string;
  readonly name?: string;
  readonly namespace?: string;
  /** Beside `template`. */
  readonly spec?: object;
  /** Text of the template: another text, another revision. */
  readonly version?: string;
  readonly container?: object;
  /** Beside `containers`. */
  readonly pod?: object;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly file?: string;
}

/** A workload whose pods sleep. */
export function manifest(dir: string, options: ManifestOptions = {}): PlatformObject {
  const { kind = "Deployment", name = "web", version = "1", namespace } = options;
  return {
    apiVersion: kind === "Job" || kind === "CronJob" ? "batch/v1" : kind === "Pod" ? "v1" : "apps/v1",
    kind,
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      annotations: options.annotations ?? {},
    },
    spec: {
      ...options.spec,
      template: {
        metadata: { labels: { app: name } },
        spec: {
          containers: [
            {
              name: "main",
              command: ["sleep", "1000"],
              env: [{ name: "VERSION", value: version }],
              ...options.container,
            },
          ],
          ...options.pod,
        },
      },
    },
    source: { file: join(dir, options.file ?? "app.yaml"), line: 1 },
  };
}

/** Ready when the file is there (see `touch`); `$HOSTNAME` in its name is the pod's. */
export function readyWhen(file: string): object {
  return { readinessProbe: { exec: { command: ["sh", "-c", `test -e ${file}`] }, periodSeconds: 1 } };
}
