/**
 * What one HTTP/1.1 request costs in the proxy, and how long it takes: Weft, Envoy 1.40, nginx and HAProxy in one run,
 * plain and as an mTLS pair. CPU comes from /proc of the proxies alone; rounds are interleaved, so that a noisy
 * neighbour meets all alike. Weft and Envoy get the same policies from the same control plane; nginx and HAProxy
 * only forward. Latency is taken at half of the rate at which Envoy saturates.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findEnvoy } from "#test/harness/envoy.ts";
import { cpuSeconds, memoryMiB } from "../harness/cpu.ts";
import { paced, percentile, saturate, type Target } from "../harness/h2load.ts";
import { tool } from "../harness/process.ts";
import type { Report, Row } from "../harness/report.ts";
import { haproxy, haproxyPair, makeCertificates, nginx, nginxPair } from "../harness/rivals.ts";
import { startMesh } from "./mesh.ts";

export interface Options {
  readonly rounds: number;
  readonly seconds: number;
  readonly connections: number;
  progress(line: string): void;
}

const WARM_REQUESTS = 30_000;
const WARM_TURNS = 8;

interface Contender {
  readonly name: "weft" | "envoy" | "nginx" | "haproxy";
  readonly target: Target;
  readonly pids: readonly number[];
}

interface Sum {
  cpu: number;
  requests: number;
  failed: number;
  readonly rates: number[];
  /** CPU microseconds per request of each round. */
  readonly each: number[];
  latencies: number[];
  idleMemory: number;
  /** Without the program itself, which all proxies of a machine share. */
  ownIdleMemory: number;
  memory: number;
}

export async function http1(options: Options): Promise<Report> {
  const envoy = findEnvoy();
  if ("missing" in envoy) throw new Error(envoy.missing);
  tool("h2load", "nghttp2-client");
  const folder = mkdtempSync(join(tmpdir(), "wb-"));
  const stops: (() => Promise<void>)[] = [];
  try {
    const origin = await startOrigin(stops);
    options.progress("starting the meshes, nginx and HAProxy");
    const certificates = makeCertificates(folder);
    const plain: Contender[] = [];
    const pair: Contender[] = [];
    for (const name of ["weft", "envoy"] as const) {
      const mesh = await startMesh(folder, name, origin, envoy.path);
      stops.push(() => mesh.stop());
      plain.push({ name, ...mesh.plain });
      pair.push({ name, ...mesh.pair });
    }
    const rivals = [
      ["nginx", await nginx(folder, origin), await nginxPair(folder, origin, certificates)],
      ["haproxy", await haproxy(folder, origin), await haproxyPair(folder, origin, certificates)],
    ] as const;
    for (const [name, single, both] of rivals) {
      stops.push(
        () => single.stop(),
        () => both.stop(),
      );
      const target = (port: number): Target => ({ url: `http://127.0.0.1:${port}/bench` });
      plain.push({ name, target: target(single.port), pids: single.pids });
      pair.push({ name, target: target(both.port), pids: both.pids });
    }
    const rows = [
      ...(await measure("plain", plain, options)),
      ...(await measure("mTLS pair", pair, options)),
      ...(await measureBodies("plain", plain, options)),
      ...(await measureBodies("mTLS pair", pair, options)),
    ];
    return { question: "http1", rows };
  } finally {
    for (const stop of stops.reverse()) await stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(name: string, contenders: readonly Contender[], options: Options): Promise<Row[]> {
  const { connections, rounds, seconds } = options;
  const sums = new Map<string, Sum>();
  const memoryOf = (pids: readonly number[], which: "resident" | "own"): number =>
    pids.reduce((total, pid) => total + memoryMiB(pid)[which], 0);
  for (const { name: who, target, pids } of contenders) {
    const idleMemory = memoryOf(pids, "resident");
    const ownIdleMemory = memoryOf(pids, "own");
    const none = { cpu: 0, requests: 0, failed: 0, rates: [], each: [], latencies: [], memory: 0 };
    sums.set(who, { ...none, idleMemory, ownIdleMemory });
    await warmUp(target, connections);
  }
  for (let round = 1; round <= rounds; round++) {
    options.progress(`${name}: round ${round} of ${rounds}`);
    for (const { name: who, target, pids } of contenders) {
      const sum = sums.get(who)!;
      const before = cpuOf(pids);
      const result = await saturate(target, connections, seconds);
      const cpu = cpuOf(pids) - before;
      sum.cpu += cpu;
      sum.requests += result.requests;
      sum.failed += result.failed;
      sum.rates.push(result.perSecond);
      sum.each.push((cpu / result.requests) * 1e6);
      sum.memory = memoryOf(pids, "resident");
    }
  }
  const envoyRate = mean(sums.get("envoy")!.rates) / 2;
  for (let round = 1; round <= rounds; round++) {
    options.progress(`${name}: latency at ${Math.round(envoyRate)} requests/s, round ${round} of ${rounds}`);
    for (const { name: who, target } of contenders)
      sums.get(who)!.latencies.push(...(await paced(target, connections, envoyRate, seconds + 1)));
  }
  for (const sum of sums.values()) sum.latencies.sort((a, b) => a - b);
  const row = (what: string, unit: string, of: (sum: Sum) => number): Row => {
    const values = Object.fromEntries([...sums].map(([who, sum]) => [who, of(sum)]));
    return { case: `${name}: ${what}`, unit, ...values, ratio: values["weft"]! / values["envoy"]! } as Row;
  };
  return [
    row("CPU per request", "us", (s) => (s.cpu / s.requests) * 1e6),
    row("CPU per request, slowest round", "us", (s) => Math.max(...s.each)),
    row("most requests", "1/s", (s) => mean(s.rates)),
    row("p50 at half of Envoy's most", "us", (s) => percentile(s.latencies, 50)),
    row("p99 at half of Envoy's most", "us", (s) => percentile(s.latencies, 99)),
    row("memory, idle", "MiB", (s) => s.idleMemory),
    row("memory, idle, without shared files", "MiB", (s) => s.ownIdleMemory),
    row("memory under load", "MiB", (s) => s.memory),
    row("failed requests", "", (s) => s.failed),
  ];
}

/** Answers of 1 MiB, on few connections: the network here is memory. */
async function measureBodies(
  name: string,
  contenders: readonly Contender[],
  options: Options,
): Promise<Row[]> {
  const CONNECTIONS = 8;
  const sums = new Map(contenders.map(({ name: who }) => [who, { cpu: 0, requests: 0 }]));
  for (let round = 0; round <= options.rounds; round++) {
    options.progress(`${name}, 1 MiB: ${round === 0 ? "warming up" : `round ${round} of ${options.rounds}`}`);
    for (const { name: who, target, pids } of contenders) {
      const before = cpuOf(pids);
      const to = { ...target, url: `${target.url}/mib` };
      const { requests } = await saturate(to, CONNECTIONS, options.seconds);
      if (round === 0) continue;
      const sum = sums.get(who)!;
      sum.cpu += cpuOf(pids) - before;
      sum.requests += requests;
    }
  }
  const values = Object.fromEntries([...sums].map(([who, s]) => [who, (s.cpu / s.requests) * 1e6]));
  const ratio = values["weft"]! / values["envoy"]!;
  return [{ case: `${name}: CPU per MiB of answer`, unit: "us", ...values, ratio } as Row];
}

/** Connections stand, code is compiled: by requests, because a busy machine does few of them in a second. */
async function warmUp(target: Target, connections: number): Promise<void> {
  for (let done = 0, turn = 0; done < WARM_REQUESTS && turn < WARM_TURNS; turn++)
    done += (await saturate(target, connections, 2)).requests;
}

async function startOrigin(stops: (() => Promise<void>)[]): Promise<number> {
  const child = fork(join(import.meta.dirname, "../harness/origin.ts"), {
    env: { ...process.env, PORT: "0" },
  });
  stops.push(async () => void child.kill());
  const [port] = (await once(child, "message")) as [number];
  return port;
}

function cpuOf(pids: readonly number[]): number {
  return pids.reduce((total, pid) => total + cpuSeconds(pid), 0);
}

function mean(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length;
}
