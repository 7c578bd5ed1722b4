/** Load by h2load (nghttp2) over HTTP/1.1; see h2load(1). */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export interface Target {
  readonly url: string;
  /** "address:port" to connect to instead of the URL's, which then only names the Host. */
  readonly connectTo?: string;
}

export interface LoadResult {
  readonly requests: number;
  readonly failed: number;
  readonly perSecond: number;
}

const STAGGER_MS = 11;

const target = ({ url, connectTo }: Target): string[] =>
  connectTo === undefined ? [url] : [`--connect-to=${connectTo}`, url];

/** As fast as `connections` can, closed loop. */
export async function saturate(to: Target, connections: number, seconds: number): Promise<LoadResult> {
  const args = ["--h1", "-t", "1", "-c", `${connections}`, "-D", `${seconds}`, ...target(to)];
  const { stdout } = await run("h2load", args, { maxBuffer: 64 << 20 });
  const number = (pattern: RegExp): number => Number(pattern.exec(stdout)?.[1] ?? Number.NaN);
  const succeeded = number(/(\d+) succeeded/);
  const ok = number(/status codes: (\d+) 2xx/);
  if (!(succeeded > 0)) throw new Error(`h2load ${args.join(" ")} had no answer:\n${stdout}`);
  return {
    requests: number(/requests: (\d+) total/),
    failed: number(/, (\d+) failed/) + Math.max(0, succeeded - ok),
    perSecond: number(/, ([\d.]+) req\/s/),
  };
}

/**
 * Latencies in microseconds, sorted, at a steady rate. Connections start one by one, else all of them would send in
 * the same instant and wait for each other; that time, and the second after it, is thrown away.
 */
export async function paced(
  to: Target,
  connections: number,
  requestsPerSecond: number,
  seconds: number,
): Promise<number[]> {
  const folder = mkdtempSync(join(tmpdir(), "wb-"));
  const log = join(folder, "log");
  try {
    const each = Math.max(1, Math.round(requestsPerSecond / connections));
    const total = each * connections * seconds;
    const start = ["-r", "1", `--rate-period=${STAGGER_MS}ms`];
    const args = [
      ...start,
      "--h1",
      "-t",
      "1",
      "-c",
      `${connections}`,
      "-n",
      `${total}`,
      `--rps=${each}`,
      `--log-file=${log}`,
    ];
    await run("h2load", [...args, ...target(to)], { maxBuffer: 64 << 20 });
    const lines = readFileSync(log, "utf8").trim().split("\n");
    const rows = lines.map((line) => line.split("\t").map(Number));
    const first = Math.min(...rows.slice(0, 1000).map((row) => row[0]!));
    const warm = first + connections * STAGGER_MS * 1000 + 1_000_000;
    return rows
      .filter(([start, status]) => status === 200 && start! > warm)
      .map(([, , us]) => us!)
      .sort((a, b) => a - b);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export function percentile(sorted: readonly number[], percent: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))] ?? Number.NaN;
}
