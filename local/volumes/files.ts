import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";

export interface VolumeFile {
  readonly content: Buffer;
  readonly mode: number;
}

/** The link that is swapped, as a kubelet names it (kubernetes/pkg/volume/util/atomic_writer.go). */
const DATA = "..data";

/**
 * Shows exactly `files` in the folder, all of them changed at once: each name is a link into `..data`, and that is a link
 * to a folder which is replaced by one rename. A reader meets the old or the new set. False: nothing changed.
 */
export function showFiles(dir: string, files: ReadonlyMap<string, VolumeFile>, stamp: string): boolean {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const former = linkOf(join(dir, DATA));
  const name = `..${stamp}`;
  if (former === name) return false;
  const target = join(dir, name);
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { mode: 0o755 });
  for (const [path, { content, mode }] of files) {
    const file = join(target, path);
    mkdirSync(dirname(file), { recursive: true, mode: 0o755 });
    writeFileSync(file, content, { mode: 0o600 });
    chmodSync(file, mode);
  }
  const link = join(dir, `${DATA}_tmp`);
  rmSync(link, { force: true });
  symlinkSync(name, link);
  renameSync(link, join(dir, DATA));
  const shown = new Set([...files.keys()].map((path) => path.split("/")[0]!));
  for (const entry of shown)
    if (!existsSync(join(dir, entry)) && linkOf(join(dir, entry)) === undefined)
      symlinkSync(join(DATA, entry), join(dir, entry));
  for (const entry of readdirSync(dir))
    if (!entry.startsWith("..") && !shown.has(entry)) rmSync(join(dir, entry), { force: true });
  if (former !== undefined) rmSync(join(dir, former), { recursive: true, force: true });
  return true;
}

function linkOf(file: string): string | undefined {
  try {
    return readlinkSync(file);
  } catch {
    return undefined;
  }
}
