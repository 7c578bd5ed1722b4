import { type Dirent, opendirSync, statSync } from "node:fs";
import { extname, join } from "node:path";

const ENDINGS: readonly string[] = [".yaml", ".yml", ".json"];
/** What other tools keep in a project, by the hundred thousand files, and nobody's policies. */
const NOT_WALKED: ReadonlySet<string> = new Set(["node_modules"]);
/** A tree of policies is shallow and small: beyond this a link or a mount leads somewhere else. */
const DEEPEST = 32;
const MOST_ENTRIES = 50_000;

export interface Walked {
  /** Sorted. */
  readonly files: readonly string[];
  /** Each with what tells it from another folder that takes its name. */
  readonly folders: ReadonlyMap<string, string>;
  /** Folders that are there or were, and cannot be looked into: nothing is known of what is below them. */
  readonly unknown: readonly string[];
  /** What was left out, and why. */
  readonly problems: readonly { readonly path: string; readonly message: string }[];
}

/**
 * The YAML and JSON files of a folder and of those below it, sorted, and these folders. Links are followed, each folder
 * is read once. What begins with a dot is left alone: a ConfigMap's mount has every file a second time in `..data`.
 */
export function walk(folder: string): Walked {
  const files: string[] = [];
  const folders = new Map<string, string>();
  const unknown: string[] = [];
  const problems: { path: string; message: string }[] = [];
  const seen = new Set<string>();
  let entries = 0;
  const into = (at: string, depth: number): void => {
    let identity: string;
    let names: Dirent[];
    try {
      const { dev, ino } = statSync(at, { bigint: true });
      identity = `${dev}:${ino}`;
      if (seen.has(identity)) return;
      names = entriesOf(at, MOST_ENTRIES - entries);
    } catch (error) {
      unknown.push(at);
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== "ENOENT") problems.push({ path: at, message: `the folder cannot be read: ${message}` });
      return;
    }
    seen.add(identity);
    folders.set(at, identity);
    entries += names.length;
    for (const entry of names) {
      if (entry.name.startsWith(".") || NOT_WALKED.has(entry.name)) continue;
      const path = join(at, entry.name);
      if (isFolder(path, entry)) {
        if (depth < DEEPEST) into(path, depth + 1);
        else if (!problems.some((p) => p.message === TOO_DEEP)) problems.push({ path, message: TOO_DEEP });
      } else if (ENDINGS.includes(extname(entry.name))) files.push(path);
    }
    if (entries >= MOST_ENTRIES && !problems.some((p) => p.message === TOO_MANY)) {
      unknown.push(folder);
      problems.push({ path: folder, message: TOO_MANY });
    }
  };
  into(folder, 0);
  return { files: files.sort(), folders, unknown, problems };
}

const TOO_DEEP = `folders that lie deeper than ${DEEPEST} levels are not read: move the policies up`;
const TOO_MANY = `there are more than ${MOST_ENTRIES} files in it, what is beyond them is not read: give the mesh a folder of its own`;

function entriesOf(folder: string, most: number): Dirent[] {
  const entries: Dirent[] = [];
  const open = opendirSync(folder, { bufferSize: 256 });
  try {
    for (let entry = open.readSync(); entry !== null && entries.length < most; entry = open.readSync())
      entries.push(entry);
  } finally {
    open.closeSync();
  }
  return entries;
}

function isFolder(path: string, entry: Dirent): boolean {
  if (!entry.isSymbolicLink()) return entry.isDirectory();
  try {
    return statSync(path).isDirectory();
  } catch {
    return false; // a link that leads nowhere: whoever reads it says so
  }
}
