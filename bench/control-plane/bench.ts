/** What a change costs the control plane: a generated world, its own process, delta clients that only count. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { XdsConnection } from "#xds/client/connection.ts";
import { NodeSchema } from "#xds/gen/envoy/config/core/v3/base_pb.js";
import { DeltaClientState, TYPE, type Update } from "#xds/index.ts";
import { cpuSeconds, memoryMiB } from "../harness/cpu.ts";
import type { Report, Row } from "../harness/report.ts";
import { podsOf, writePlatform, writePolicies, writeRoute } from "./world.ts";

export interface ControlPlaneOptions {
  readonly rounds: number;
  readonly services: number;
  readonly proxies: number;
  readonly progress: (line: string) => void;
}

interface Mark {
  readonly cpu: number;
  readonly bytes: number;
  readonly at: number;
}

export async function controlPlane(options: ControlPlaneOptions): Promise<Report> {
  const { services, proxies, progress } = options;
  const folder = mkdtempSync(join(tmpdir(), "weft-bench-"));
  const socket = `unix:${folder}/xds.sock`;
  writePolicies(folder, services);
  writePlatform(folder, services, new Set());
  const listen = { grpc: [socket], admin: `unix:${folder}/admin.sock`, otlp: null };
  const config = {
    paths: [join(folder, "policies")],
    stateDir: folder,
    platform: join(folder, "platform.json"),
  };
  writeFileSync(join(folder, "c.json"), JSON.stringify({ ...config, listen }));
  const main = join(import.meta.dirname, "../../control-plane/main.ts");
  const child = spawn(process.execPath, [main, "--config", join(folder, "c.json")], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const pid = child.pid!;
  const connections: XdsConnection[] = [];
  const clients: {
    endpoints: number;
    routes: number;
    bytes: number;
    lastMs: number;
    state: DeltaClientState;
  }[] = [];
  const mark = (): Mark => ({
    cpu: cpuSeconds(pid),
    bytes: clients.reduce((sum, c) => sum + c.bytes, 0),
    at: performance.now(),
  });
  const rows: Row[] = [];
  const row = (name: string, unit: string, weft: number): void => {
    rows.push({ case: name, unit, weft, envoy: Number.NaN, ratio: Number.NaN });
    progress(`${name}: ${weft.toFixed(2)} ${unit}`);
  };
  const until = async (done: () => boolean): Promise<void> => {
    const deadline = performance.now() + 120_000;
    while (!done()) {
      if (performance.now() > deadline) throw new Error("the control plane does not get there within 120 s");
      await new Promise((next) => setTimeout(next, 5));
    }
  };
  try {
    let start = mark();
    for (const pod of podsOf(services).slice(0, proxies)) {
      const client = {
        endpoints: 0,
        routes: 0,
        bytes: 0,
        lastMs: 0,
        state: undefined as unknown as DeltaClientState,
      };
      client.state = new DeltaClientState(
        create(NodeSchema, {
          id: `sidecar~${pod.ip}~${pod.name}.${pod.namespace}~${pod.namespace}.svc.cluster.local`,
          metadata: { NAMESPACE: pod.namespace, SERVICE_ACCOUNT: pod.account, WEFT_VERSION: "bench" },
        }),
        (update: Update) => {
          client.lastMs = performance.now();
          if (update.type === TYPE.endpoints) client.endpoints += update.upserts.length;
          if (update.type === TYPE.route) client.routes += update.upserts.length;
          for (const r of update.upserts) client.bytes += toBinary(AnySchema, r.any).length;
          return [];
        },
      );
      client.state.subscribe(TYPE.cluster, "*");
      client.state.subscribe(TYPE.listener, "*");
      clients.push(client);
      const connection = new XdsConnection({ address: socket, state: client.state });
      connections.push(connection);
    }
    await until(() => cpuSeconds(pid) > 0);
    for (const connection of connections) connection.start();
    const complete = (c: (typeof clients)[number]): boolean =>
      Object.keys(c.state.known()[TYPE.endpoints] ?? {}).length >= services && c.routes > 0;
    await until(() => clients.every(complete));
    await settle(pid);
    row(`start and connect ${proxies} proxies, ${services} services`, "CPU s", mark().cpu - start.cpu);
    row("memory", "MiB", memoryMiB(pid).resident);
    const rounds = Math.max(1, options.rounds);
    const change = async (
      name: string,
      count: (c: (typeof clients)[number]) => number,
      write: (round: number) => void,
    ) => {
      let [cpu, bytes, ms] = [0, 0, 0];
      for (let round = 0; round < rounds; round++) {
        const before = clients.map(count);
        start = mark();
        write(round);
        await until(() => clients.every((c, i) => count(c) > before[i]!));
        ms += Math.max(...clients.map((c) => c.lastMs)) - start.at;
        await settle(pid);
        cpu += mark().cpu - start.cpu;
        bytes += mark().bytes - start.bytes;
      }
      row(`${name}: CPU`, "ms", (cpu / rounds) * 1000);
      row(`${name}: to the last proxy`, "ms", ms / rounds);
      row(`${name}: sent`, "KB", bytes / rounds / 1000);
    };
    await change(
      "endpoint change",
      (c) => c.endpoints,
      (round) => writePlatform(folder, services, new Set(round % 2 === 0 ? ["svc-7-0"] : [])),
    );
    await change(
      "route change",
      (c) => c.routes,
      (round) => writeRoute(folder, 80 - round),
    );
    return { question: "control-plane", rows };
  } finally {
    for (const connection of connections) connection.close();
    const exit = once(child, "exit");
    child.kill("SIGTERM");
    await exit;
    rmSync(folder, { recursive: true });
  }
}

/** Until the process has used no CPU for a while. */
async function settle(pid: number): Promise<void> {
  let last = -1;
  for (let idle = 0; idle < 3; ) {
    await new Promise((next) => setTimeout(next, 100));
    const now = cpuSeconds(pid);
    idle = now - last < 0.015 ? idle + 1 : 0;
    last = now;
  }
}
