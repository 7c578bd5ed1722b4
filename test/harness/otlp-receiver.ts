/** An OTLP receiver that is not ours: OpenTelemetry's Python messages behind Python's HTTP server. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const PACKAGE = "opentelemetry-proto==1.45.2";
const HOW = `let python3 -m pip install ${PACKAGE} work`;

export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: string;
  readonly service: string;
  readonly startNs: string;
  readonly endNs: string;
  readonly error: boolean;
  readonly attributes: Readonly<Record<string, unknown>>;
}

export class OtlpReceiver {
  readonly endpoint: string;
  readonly spans: ReceivedSpan[] = [];
  /** One sentence per export that OpenTelemetry's own parser refused. */
  readonly problems: string[] = [];
  readonly #process: ChildProcess;

  constructor(process_: ChildProcess, port: number) {
    this.#process = process_;
    this.endpoint = `http://127.0.0.1:${port}`;
  }
  take(line: string): void {
    const value = JSON.parse(line) as ReceivedSpan | { problem: string };
    if ("problem" in value) this.problems.push(value.problem);
    else this.spans.push(value);
  }
  stop(): void {
    this.#process.kill("SIGKILL");
  }
}

/** Why there is none, and how to get it, or a running receiver. In CI nothing may be missing. */
export async function startOtlpReceiver(): Promise<OtlpReceiver | { missing: string }> {
  const packages = findPackages();
  if (typeof packages !== "string") {
    if (process.env["CI"]) throw new Error(`in CI nothing may be missing: ${packages.missing}`);
    return packages;
  }
  const child = spawn("python3", [join(import.meta.dirname, "otlp_receiver.py")], {
    env: { ...process.env, PYTHONPATH: packages },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const killed = (): void => void child.kill("SIGKILL");
  process.once("exit", killed);
  child.once("exit", () => process.off("exit", killed));
  return new Promise((resolve, reject) => {
    let receiver: OtlpReceiver | undefined;
    child.once("exit", (code) => reject(new Error(`the OTLP receiver ended with ${code}`)));
    createInterface(child.stdout).on("line", (line) => {
      if (receiver !== undefined) receiver.take(line);
      else {
        receiver = new OtlpReceiver(child, Number(line));
        resolve(receiver);
      }
    });
  });
}

/** The folder to import from, fetched once into the user's cache. */
function findPackages(): string | { missing: string } {
  const cache = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "weft");
  const path = join(cache, PACKAGE.replace("==", "-"));
  if (existsSync(path)) return path;
  mkdirSync(cache, { recursive: true });
  const draft = mkdtempSync(join(cache, ".fetch-"));
  const pip = spawnSync("python3", ["-m", "pip", "install", "--quiet", "--target", draft, PACKAGE], {
    encoding: "utf8",
    timeout: 120_000,
  });
  if (pip.status !== 0) {
    rmSync(draft, { recursive: true, force: true });
    const reason = pip.error?.message ?? pip.stderr.trim().split("\n").at(-1);
    return { missing: `no OTLP receiver: ${reason}; ${HOW}` };
  }
  try {
    renameSync(draft, path); // whole or not at all: other test processes look for it too
  } catch {
    rmSync(draft, { recursive: true, force: true });
  }
  return path;
}
