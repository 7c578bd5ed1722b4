import { readFileSync } from "node:fs";

/** The control plane's whole configuration; unknown keys are refused. */
export interface Config {
  readonly paths: readonly string[];
  readonly stateDir: string;
  readonly trustDomain: string;
  readonly rootNamespace: string;
  readonly listen: { readonly grpc: readonly string[]; readonly admin: string; readonly otlp: string | null };
  readonly platform: string | null;
  /** PEM file (SPKI, ES256) that verifies workload tokens. */
  readonly tokenKeys: string | null;
  /** Percent, 0..100. */
  readonly traceSampling: number;
  /** Base URL of an OTLP/HTTP receiver that gets all spans too, or null. */
  readonly otlpEndpoint: string | null;
  readonly accessLog: boolean;
  readonly outboundTrafficPolicy: "ALLOW_ANY" | "REGISTRY_ONLY";
  readonly certificateTtlSeconds: number;
}

const isText = (v: unknown) => typeof v === "string" && v !== "";
const isTexts = (v: unknown) => Array.isArray(v) && v.every(isText);
const isUrlOrNull = (v: unknown) =>
  v === null || (typeof v === "string" && /^https?:\/\//.test(v) && URL.canParse(v));
const isTextOrNull = (v: unknown) => v === null || isText(v);
const KEYS: Record<keyof Config, [test: (v: unknown) => boolean, wanted: string, fallback?: unknown]> = {
  paths: [isTexts, "a list of files or folders"],
  stateDir: [isText, "a folder"],
  trustDomain: [isText, "a name", "cluster.local"],
  rootNamespace: [isText, "a name", "istio-system"],
  listen: [isListen, "{grpc: [addresses], admin: address, otlp: address or null}"],
  platform: [isTextOrNull, "a file or null", null],
  tokenKeys: [isTextOrNull, "a file or null", null],
  traceSampling: [(v) => typeof v === "number" && v >= 0 && v <= 100, "a number from 0 to 100", 100],
  otlpEndpoint: [isUrlOrNull, 'a URL such as "http://127.0.0.1:4318", or null', null],
  accessLog: [(v) => typeof v === "boolean", "true or false", true],
  outboundTrafficPolicy: [
    (v) => v === "ALLOW_ANY" || v === "REGISTRY_ONLY",
    "ALLOW_ANY or REGISTRY_ONLY",
    "ALLOW_ANY",
  ],
  certificateTtlSeconds: [(v) => Number.isInteger(v) && (v as number) >= 60, "an integer from 60 up", 86_400],
};

function isListen(v: unknown): boolean {
  if (typeof v !== "object" || v === null) return false;
  const { grpc, admin, otlp = null, ...rest } = v as Record<string, unknown>;
  return Object.keys(rest).length === 0 && isTexts(grpc) && isText(admin) && isTextOrNull(otlp);
}

/** Throws an Error that names file and key. */
export function readConfig(file: string): Config {
  return parseConfig(readFileSync(file, "utf8"), file);
}

/** `file` is named in errors; unknown keys are errors, absent ones have the defaults of KEYS. */
export function parseConfig(text: string, file: string): Config {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`${file}: not JSON: ${(error as Error).message}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new Error(`${file}: not an object`);
  const given = value as Record<string, unknown>;
  for (const key of Object.keys(given)) {
    if (!Object.hasOwn(KEYS, key))
      throw new Error(`${file}: unknown key "${key}": known are ${Object.keys(KEYS).join(", ")}`);
  }
  const config: Record<string, unknown> = {};
  for (const [key, [test, wanted, fallback]] of Object.entries(KEYS)) {
    const v = given[key] === undefined ? fallback : given[key];
    if (!test(v)) throw new Error(`${file}: "${key}" must be ${wanted}`);
    config[key] = v;
  }
  return Object.freeze(config) as unknown as Config;
}
