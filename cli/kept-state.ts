/** What a mesh leaves in its state directory when it stops, for people and for `weft down --purge`. */
import { lstatSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";

export interface KeptState {
  readonly mesh: string;
  readonly dir: string;
  readonly bytes: number;
  /** In words, without repetition. */
  readonly holds: readonly string[];
  /** ms since the epoch: the last change of anything in it. */
  readonly usedMs: number;
}

/** First match wins. Sockets and files of the running mesh are none of it. */
const MEANING: readonly (readonly [RegExp, string])[] = [
  [/^(ca|ca\..*|tokens\..*)$/, "the certificate authority and keys"],
  [/^applied$/, "what was applied"],
  [/^(volumes|claims|storage)$/, "volumes of PersistentVolumeClaims"],
  [/^traces\.db/, "traces"],
  [/^workloads$/, "the history of rollouts"],
  [/^(pods|.*\.log(\.\d+)?)$/, "logs"],
  [/^addresses\.json$/, "addresses"],
  [/^(control-plane|platform|supervisor)\.json$/, "its last settings"],
];

/** Null: there is none. */
export function keptState(dir: string): KeptState | null {
  const entries = names(dir);
  if (entries === null || entries.length === 0) return null;
  const holds = new Set<string>();
  let bytes = 0;
  let usedMs = 0;
  for (const name of entries) {
    const of = measure(join(dir, name));
    bytes += of.bytes;
    usedMs = Math.max(usedMs, of.changedMs);
    if (of.files > 0) holds.add(MEANING.find(([pattern]) => pattern.test(name))?.[1] ?? name);
  }
  return { mesh: dir.slice(dir.lastIndexOf("/") + 1), dir, bytes, holds: [...holds], usedMs };
}

/** Of the other meshes beside it; those that run are told by `runs`. */
export function otherStates(dir: string, runs: (dir: string) => boolean): KeptState[] {
  const parent = dirname(dir);
  return (names(parent) ?? [])
    .map((name) => join(parent, name))
    .filter((one) => one !== dir && lstatSync(one).isDirectory() && !runs(one))
    .flatMap((one) => keptState(one) ?? []);
}

export function purge(dir: string): void {
  rmSync(dir, { recursive: true, force: true });
}

/** What files said while a mesh ran is nothing to the next one. */
export function forget(dir: string): void {
  rmSync(join(dir, "last-good"), { recursive: true, force: true });
}

/** As people read it: 812 kB, 12 MB. */
export function sizeOf(bytes: number): string {
  if (bytes < 1e6) return `${Math.ceil(bytes / 1e3)} kB`;
  return bytes < 1e9 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

function names(dir: string): string[] | null {
  try {
    return readdirSync(dir).sort();
  } catch {
    return null; // there is none
  }
}

/** Links are not followed: what they lead to is not the mesh's. */
function measure(path: string): { bytes: number; files: number; changedMs: number } {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return { bytes: 0, files: 0, changedMs: 0 };
  if (!stat.isDirectory()) return { bytes: stat.size, files: stat.isFile() ? 1 : 0, changedMs: stat.mtimeMs };
  const all = (names(path) ?? []).map((name) => measure(join(path, name)));
  return {
    bytes: all.reduce((sum, one) => sum + one.bytes, 0),
    files: all.reduce((sum, one) => sum + one.files, 0),
    changedMs: Math.max(0, ...all.map((one) => one.changedMs)),
  };
}
