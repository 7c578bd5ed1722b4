import { type FSWatcher, readFileSync, statSync, watch } from "node:fs";
import { basename, dirname, extname, sep } from "node:path";
import {
  FileLoader,
  type Issue,
  type Loaded,
  type LoadResult,
  MAX_BYTES,
  tooLarge,
} from "#policies/index.ts";
import type { LastGood } from "./last-good.ts";
import { walk } from "./walk.ts";

export interface FileSource {
  /** Objects of all files, in path order; a broken file contributes its last good objects. */
  readonly objects: () => readonly Loaded[];
  readonly issues: () => readonly Issue[];
  /** Looks at the files now; `changed` runs before it returns if they differ. */
  readonly reload: () => void;
  readonly close: () => void;
}

export interface FileSourceOptions {
  readonly now?: () => number;
  /** A file that the platform writes: a List in JSON, of any size. */
  readonly platform?: string | null;
  /** A folder whose files are only ever renamed into place, as the platform's is. */
  readonly renamed?: string;
  /** Paths that the user named: one that is not there is worth a word. */
  readonly named?: readonly string[];
  /** Where good versions survive a restart. */
  readonly lastGood?: LastGood;
}

const BURST_MS = 50;
const SETTLE_MS = 30;
// fs.watch misses changes on network and overlay file systems, and paths that do not exist yet.
const POLL_MS = 500;

/** Watches files and folders of YAML or JSON. `changed` runs at once for a first change, then at most every 50 ms. */
export function watchFiles(
  paths: readonly string[],
  changed: () => void,
  options: FileSourceOptions = {},
): FileSource {
  const now = options.now ?? Date.now;
  const platform = options.platform ?? null;
  // A file that is always whole is read at once: the inode that one rename frees is soon that of another.
  const isWhole = (file: string): boolean =>
    file === platform || (options.renamed !== undefined && file.startsWith(options.renamed + sep));
  const good = new Map<string, readonly Loaded[]>();
  const issues = new Map<string, readonly Issue[]>();
  const stamps = new Map<string, string>();
  const loaders = new Map<string, FileLoader>();

  const read = (file: string, size: bigint): LoadResult => {
    const loader = loaders.get(file) ?? new FileLoader(file);
    loaders.set(file, loader);
    if (file === platform) return loader.loadList(readFileSync(file, "utf8"));
    if (size > MAX_BYTES) return tooLarge(file);
    const text = readFileSync(file, "utf8");
    const result = loader.load(text);
    if (!isBroken(result)) options.lastGood?.keep(file, text);
    return result;
  };
  const take = (file: string, result: LoadResult): void => {
    if (!isBroken(result)) {
      good.set(file, result.objects);
      issues.set(file, result.issues);
      return;
    }
    if (!good.has(file)) {
      // The version of before a restart; without one, what can be read of this file.
      const kept = options.lastGood?.find(file) ?? null;
      good.set(file, kept?.objects ?? result.objects);
    }
    issues.set(file, result.issues);
  };

  const scan = (): boolean => {
    const files = paths.flatMap(list);
    const present = new Set(files);
    let different = false;
    for (const file of stamps.keys()) {
      if (present.has(file)) continue;
      for (const map of [stamps, good, issues, loaders]) map.delete(file);
      options.lastGood?.forget(file);
      different = true;
    }
    for (const file of files) {
      let stamp = "";
      try {
        const s = statSync(file, { bigint: true });
        stamp = `${s.mtimeNs}:${s.size}:${s.ino}`;
        const before = stamps.get(file);
        if (before === stamp) continue;
        // A pipe would be waited for, a device never ends.
        if (!s.isFile()) throw new Error("it is not a regular file");
        // The same inode is being written in place, maybe still empty; a file renamed into place is whole.
        if (!isWhole(file) && before?.endsWith(`:${s.ino}`) && now() - Number(s.mtimeMs) < SETTLE_MS) {
          again = true;
          continue;
        }
        take(file, read(file, s.size));
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        // Gone between listing and reading: the next scan sees what became of it.
        if (code === "ENOENT") continue;
        stamp ||= String(code);
        if (stamps.get(file) === stamp) continue;
        take(file, unreadable(file, message));
      }
      stamps.set(file, stamp);
      different = true;
    }
    return different;
  };

  let timer: NodeJS.Timeout | undefined;
  let again = false;
  const look = (): void => {
    if (timer !== undefined) {
      again = true;
      return;
    }
    timer = setTimeout(() => {
      timer = undefined;
      if (again) look();
    }, BURST_MS);
    again = false;
    if (scan()) changed();
  };
  // Not the files beside them: the state directory holds databases and logs, and a file that is written to be renamed
  // would begin the pause in which its rename then waits. What has no ending may be a folder.
  const named = new Set(paths.map((path) => basename(path)));
  const concerns = (name: string | null): boolean =>
    name === null || named.has(name) || ["", ".yaml", ".yml", ".json"].includes(extname(name));
  // Folders, not files: an editor that renames a new file into place leaves a watch on the old one.
  const watchers = new Map<string, FSWatcher>();
  const follow = (): void => {
    const wanted = new Set(paths.flatMap(folders));
    for (const [folder, watcher] of watchers) {
      if (wanted.has(folder)) continue;
      watcher.close();
      watchers.delete(folder);
    }
    for (const folder of wanted) {
      if (watchers.has(folder)) continue;
      try {
        const watcher = watch(folder, (_event, name) => {
          if (concerns(name)) look();
        });
        // A folder that was removed: the next poll watches its successor.
        watcher.on("error", () => {
          watcher.close();
          watchers.delete(folder);
        });
        watchers.set(folder, watcher);
      } catch {
        // Gone, or no inotify watches left: polling still sees it.
      }
    }
  };
  const poll = setInterval(() => {
    follow();
    look();
  }, POLL_MS);
  follow();
  scan();
  const inOrder = <T>(map: Map<string, readonly T[]>) =>
    [...map.keys()].sort().flatMap((f) => map.get(f) ?? []);
  return {
    objects: () => inOrder(good),
    issues: () => [...(options.named ?? []).flatMap(missing), ...inOrder(issues)],
    reload: () => {
      if (scan()) changed();
    },
    close: () => {
      clearInterval(poll);
      clearTimeout(timer);
      for (const watcher of watchers.values()) watcher.close();
    },
  };
}

function isBroken(result: LoadResult): boolean {
  return result.issues.some((i) => i.level === "error");
}

function unreadable(file: string, message: string): LoadResult {
  const issue = { level: "error", code: "unreadable", file, line: 1, object: "", path: "" } as const;
  return { objects: [], issues: [{ ...issue, message: `the file cannot be read: ${message}` }] };
}

function missing(path: string): Issue[] {
  if (statSync(path, { throwIfNoEntry: false }) !== undefined) return [];
  const issue = {
    level: "warning",
    code: "missing-path",
    file: path,
    line: 1,
    object: "",
    path: "",
  } as const;
  return [{ ...issue, message: "there is no such file or folder (yet); it is watched for" }];
}

/** The folder of a file, or a folder and all below it; nothing for what does not exist. */
function folders(path: string): string[] {
  try {
    return statSync(path).isDirectory() ? walk(path).folders : [dirname(path)];
  } catch {
    return [];
  }
}

function list(path: string): string[] {
  try {
    return statSync(path).isDirectory() ? walk(path).files : [path];
  } catch {
    return [];
  }
}
