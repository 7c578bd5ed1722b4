/** Who may import whom (docs/adr/0002): the table, and the check that reads a source file against it. */
import { readdirSync } from "node:fs";
import { join, posix, relative } from "node:path";

/** Folder -> import path prefixes that it may use besides its own; `reason` is what the message says. */
const RULES: Record<string, { may: readonly string[]; reason: string }> = {
  lib: { may: [], reason: "lib is bedrock: no domain words, nothing of ours" },
  ir: { may: [], reason: "ir is the boundary between policies and Envoy: it imports nothing" },
  xds: { may: ["lib"], reason: "the wire contract is usable alone" },
  certs: { may: ["lib"], reason: "trust is usable alone" },
  policies: { may: ["ir", "lib"], reason: "a policy means something for a workload; it cannot touch Envoy" },
  "control-plane": {
    may: ["policies", "ir", "xds", "certs", "lib"],
    reason: "the two machines meet only at xds and certs",
  },
  sidecar: {
    may: ["xds", "certs/workload", "certs/spiffe.ts", "certs/x509", "lib"],
    reason: "the sidecar must run under any xDS server, and signing code never ships next to workloads",
  },
  local: { may: ["lib"], reason: "the platform starts the machines as processes" },
  cli: {
    may: ["policies", "ir", "xds", "control-plane", "sidecar", "certs", "local", "lib"],
    reason: "windows look into every folder; nothing looks back",
  },
};

const ENVOY_FREE = /^#?(xds)\//;
const IMPORT = /(?:^|\s)(?:import|export)\s[^;]*?from\s+"([^"]+)"|import\("([^"]+)"\)|^import\s+"([^"]+)"/gm;

/** The violations of one file; `file` is relative to the root and uses `/`. */
export function violations(file: string, source: string): string[] {
  const folder = file.split("/")[0]!;
  const rule = RULES[folder];
  if (rule === undefined) return [];
  const isTest = file.endsWith(".test.ts");
  const found: string[] = [];
  for (const match of source.matchAll(IMPORT)) {
    const target = resolveOwn(file, match[1] ?? match[2] ?? match[3] ?? "");
    if (target === null || target.split("/")[0] === folder) continue;
    if (isTest && target.startsWith("test/harness/")) continue; // a unit test may use the harness
    const allowed = rule.may.some((m) => target === m || target.startsWith(`${m}/`));
    if (!allowed) found.push(`${file} imports ${target}: ${rule.reason}`);
    else if (
      !isTest &&
      folder === "control-plane" &&
      ENVOY_FREE.test(target) &&
      !file.match(/\/(write|serve|ca|traces|pipeline|main|admin)\b/)
    )
      found.push(`${file} imports ${target}: in control-plane only the edges know protobuf`);
  }
  return found;
}

/** Path below the root of an import of ours, or null for packages and Node. */
function resolveOwn(file: string, specifier: string): string | null {
  if (specifier.startsWith("#")) return specifier.slice(1);
  if (specifier.startsWith(".")) return posix.normalize(posix.join(posix.dirname(file), specifier));
  return null;
}

/** Every TypeScript source below `root`, relative, sorted. */
export function sources(root: string): string[] {
  const found: string[] = [];
  const walk = (dir: string): void => {
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      if (entry.name === "node_modules" || entry.name === "gen" || entry.name.startsWith(".")) continue;
      const path = join(dir, entry.name);
      if (entry.isDirectory()) walk(path);
      else if (entry.name.endsWith(".ts")) found.push(relative(root, path).replaceAll("\\", "/"));
    }
  };
  walk(root);
  return found.sort();
}
