import { readFileSync } from "node:fs";
import { isLogLevel, type LogLevel } from "#lib/log.ts";

/** Waits between attempts to reach the control plane, with full jitter: back within seconds, and still no herd. */
export const RECONNECT_MS = { base: 500, most: 5_000 };

/** The proxy's own configuration, parsed once; everything else arrives over xDS. */
export interface Bootstrap {
  readonly node: {
    readonly id: string;
    readonly cluster: string;
    readonly metadata: Readonly<Record<string, unknown>>;
    readonly locality: {
      readonly region?: string;
      readonly zone?: string;
      readonly subZone?: string;
    };
  };
  readonly discovery: {
    /** `unix:/path`, `host:port` (plaintext) or `tls://host:port`. */
    readonly address: string;
    readonly tokenFile: string | null;
    readonly rootCert: string | null;
  };
  readonly trustDomain: string;
  readonly admin: ListenAddress;
  readonly sds: ListenAddress | null;
  readonly statusPort: number | null;
  readonly prometheus: ListenAddress | null;
  readonly logLevel: LogLevel;
  readonly drainSeconds: number;
}

export type ListenAddress =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number };

export class BootstrapError extends Error {
  readonly code = "WEFT_BOOTSTRAP";
  readonly problems: readonly string[];
  constructor(file: string, problems: readonly string[]) {
    super(`${file}: ${problems.join("; ")}`);
    this.name = "BootstrapError";
    this.problems = problems;
  }
}

/** Reads and checks the file. @throws BootstrapError naming every problem at once. */
export function readBootstrap(file: string): Bootstrap {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new BootstrapError(file, [`cannot be read: ${(cause as Error).message}`]);
  }
  return parseBootstrap(text, file);
}

/** Throws BootstrapError with all that is wrong at once; unknown keys are wrong, too. */
export function parseBootstrap(text: string, file = "proxy config"): Bootstrap {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (cause) {
    throw new BootstrapError(file, [`is not JSON: ${(cause as Error).message}`]);
  }
  const fields = new Fields();
  const top = fields.object(raw, "", [
    "node",
    "discovery",
    "trustDomain",
    "admin",
    "sds",
    "statusPort",
    "prometheus",
    "logLevel",
    "drainSeconds",
  ]);
  const node = fields.object(top["node"], "node", ["id", "cluster", "metadata", "locality"]);
  const locality = fields.object(node["locality"] ?? {}, "node.locality", ["region", "zone", "subZone"]);
  const discovery = fields.object(top["discovery"], "discovery", ["address", "tokenFile", "rootCert"]);
  const address = fields.text(discovery["address"], "discovery.address");
  if (address !== "" && !/^(unix:\/.+|(tls:\/\/)?[^/\s]+:\d{1,5})$/.test(address))
    fields.problem("discovery.address", `"${address}" is neither unix:/path, host:port nor tls://host:port`);
  const level = fields.optionalText(top["logLevel"], "logLevel") ?? "info";
  if (!isLogLevel(level))
    fields.problem("logLevel", `"${level}" is not one of debug, info, warn, error, silent`);
  const metadata = node["metadata"] ?? {};
  if (!isRecord(metadata)) fields.problem("node.metadata", "must be an object");
  const bootstrap: Bootstrap = {
    node: {
      id: fields.text(node["id"], "node.id"),
      cluster: fields.text(node["cluster"], "node.cluster"),
      metadata: isRecord(metadata) ? metadata : {},
      locality: locality as Bootstrap["node"]["locality"],
    },
    discovery: {
      address,
      tokenFile: fields.optionalText(discovery["tokenFile"], "discovery.tokenFile"),
      rootCert: fields.optionalText(discovery["rootCert"], "discovery.rootCert"),
    },
    trustDomain: fields.optionalText(top["trustDomain"], "trustDomain") ?? "cluster.local",
    admin: fields.address(top["admin"], "admin") ?? { kind: "tcp", host: "127.0.0.1", port: 15000 },
    sds: fields.address(top["sds"], "sds"),
    statusPort: fields.integer(top["statusPort"], "statusPort", 1, 65535),
    prometheus: fields.address(top["prometheus"], "prometheus"),
    logLevel: isLogLevel(level) ? level : "info",
    drainSeconds: fields.integer(top["drainSeconds"], "drainSeconds", 0, 3600) ?? 5,
  };
  if (fields.problems.length > 0) throw new BootstrapError(file, fields.problems);
  return deepFreeze(bootstrap);
}

class Fields {
  readonly problems: string[] = [];
  problem(path: string, what: string): void {
    this.problems.push(path === "" ? what : `${path}: ${what}`);
  }
  object(value: unknown, path: string, known: readonly string[]): Record<string, unknown> {
    if (!isRecord(value)) {
      this.problem(path, value === undefined ? "is missing" : "must be an object");
      return {};
    }
    for (const key of Object.keys(value))
      if (!known.includes(key)) this.problem(path, `unknown key "${key}" (known: ${known.join(", ")})`);
    return value;
  }
  text(value: unknown, path: string): string {
    if (typeof value === "string" && value !== "") return value;
    this.problem(path, value === undefined ? "is missing" : "must be a non-empty string");
    return "";
  }
  optionalText(value: unknown, path: string): string | null {
    return value === undefined || value === null ? null : this.text(value, path);
  }
  integer(value: unknown, path: string, low: number, high: number): number | null {
    if (value === undefined || value === null) return null;
    if (typeof value === "number" && Number.isInteger(value) && value >= low && value <= high) return value;
    this.problem(path, `must be an integer from ${low} to ${high}`);
    return null;
  }
  address(value: unknown, path: string): ListenAddress | null {
    const text = this.optionalText(value, path);
    if (text === null || text === "") return null;
    const parsed = parseListenAddress(text);
    if (parsed === null) this.problem(path, `"${text}" is neither unix:/path nor ip:port`);
    return parsed;
  }
}

/** `unix:/path`, `127.0.0.1:80` or `[::1]:80`. */
export function parseListenAddress(text: string): ListenAddress | null {
  if (text.startsWith("unix:")) return text.length > 5 ? { kind: "unix", path: text.slice(5) } : null;
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/\s]+)):(\d{1,5})$/.exec(text);
  if (match === null) return null;
  const port = Number(match[3]);
  return port > 65535 ? null : { kind: "tcp", host: (match[1] ?? match[2])!, port };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const child of Object.values(value)) deepFreeze(child);
  }
  return value;
}
