import { spawnSync } from "node:child_process";
import { resolve } from "node:path";
import type { PlatformOptions } from "#local/index.ts";
import type { Input } from "../command.ts";
import { EXIT, UserError } from "../errors.ts";

const DATA_PLANES = ["weft", "envoy", "none"] as const;
const MODES = ["auto", "transparent", "explicit"] as const;

export const UP_OPTIONS = [
  {
    flags: "--data-plane <kind>",
    help: "weft, envoy, or none (the applications alone)",
    default: "weft",
    values: ["weft", "envoy", "none"],
  },
  {
    flags: "--envoy <file>",
    help: "the Envoy binary for --data-plane envoy (default: $WEFT_ENVOY, else PATH)",
    values: "path",
  },
  {
    flags: "--mode <mode>",
    help: "auto, transparent or explicit",
    default: "auto",
    values: ["auto", "transparent", "explicit"],
  },
  { flags: "--trace-sampling <percent>", help: "share of requests that are traced", default: "100" },
  {
    flags: "--otlp-endpoint <url>",
    help: "an OTLP/HTTP receiver (collector, Jaeger ...) that gets all spans too, such as http://127.0.0.1:4318",
  },
  { flags: "--certificate-ttl <seconds>", help: "how long workload certificates live", default: "86400" },
  { flags: "-d, --detach", help: "return when everything is ready; `weft down` stops it" },
] as const;

/** Everything of PlatformOptions that the command line says. Throws UserError for a wrong value. */
export function readUpOptions({ options, env, cwd, stateDir }: Input, paths: readonly string[]) {
  const envoy = options["envoy"] ?? env["WEFT_ENVOY"];
  const otlpEndpoint = options["otlpEndpoint"];
  if (otlpEndpoint !== undefined && !/^https?:\/\/[^/]/.test(String(otlpEndpoint)))
    throw new UserError("--otlp-endpoint: a URL such as http://127.0.0.1:4318", EXIT.usage);
  const dataPlane = oneOf(DATA_PLANES, "--data-plane", options["dataPlane"]);
  if (dataPlane === "envoy")
    checkEnvoy(typeof envoy === "string" && envoy !== "" ? resolve(cwd, envoy) : "envoy", env);
  return {
    stateDir,
    dataPlane,
    mode: oneOf(MODES, "--mode", options["mode"]),
    ...(typeof envoy === "string" && envoy !== "" ? { envoy: resolve(cwd, envoy) } : {}),
    controlPlaneConfig: {
      paths: paths.map((path) => resolve(cwd, path)),
      traceSampling: number("--trace-sampling", options["traceSampling"], 0, 100),
      certificateTtlSeconds: number("--certificate-ttl", options["certificateTtl"], 60, 90 * 86_400, true),
      ...(otlpEndpoint === undefined ? {} : { otlpEndpoint }),
    },
  } satisfies Partial<PlatformOptions>;
}

/** Asked before anything starts: a pod whose Envoy cannot run only ever says so in its own log. */
function checkEnvoy(file: string, env: NodeJS.ProcessEnv): void {
  const { error, stdout } = spawnSync(file, ["--version"], { env, encoding: "utf8", timeout: 30_000 });
  if (/ version: .*\/\d+\.\d+\.\d+/.test(stdout ?? "")) return;
  const why =
    error === undefined ? "it is no Envoy" : ((error as NodeJS.ErrnoException).code ?? error.message);
  throw new UserError(
    `--data-plane envoy: ${file} cannot be used: ${why}; say where an Envoy 1.40 is: --envoy FILE, or WEFT_ENVOY`,
  );
}

function oneOf<T extends string>(known: readonly T[], flag: string, value: unknown): T {
  const found = known.find((one) => one === value);
  if (found === undefined) throw new UserError(`${flag}: one of ${known.join(", ")}`, EXIT.usage);
  return found;
}

function number(flag: string, value: unknown, low: number, high: number, whole = false): number {
  const parsed = Number(value);
  if (value === "" || !(parsed >= low && parsed <= high) || (whole && !Number.isInteger(parsed)))
    throw new UserError(
      `${flag}: ${JSON.stringify(value)} is no ${whole ? "whole " : ""}number from ${low} to ${high}`,
      EXIT.usage,
    );
  return parsed;
}
