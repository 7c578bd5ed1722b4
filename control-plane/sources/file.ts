import { type FSWatcher, readdirSync, readFileSync, statSync, watch } from "node:fs";
import { dirname, join } from "node:path";
import { type Issue, type Loaded, load } from "#policies/index.ts";

export interface FileSource {
  /** Objects of all files, in path order; a broken file contributes its last good objects. */
  readonly objects: () => readonly Loaded[];
  readonly issues: () => readonly Issue[];
  /** Looks at the files now; `changed` runs before it returns if they differ. */
  readonly reload: () => void;
  readonly close: () => void;
}

const BURST_MS = 50;
const SETTLE_MS = 30;
// fs.watch misses changes on network and overlay file systems, and paths that do not exist yet.
const POLL_MS = 500;

/** Watches files and folders of YAML or JSON. `changed` runs at once for a first change, then at most every 50 ms. */
export function watchFiles(
  paths: readonly string[],
  changed: () => void,
  now: () => number = Date.now,
): FileSource {
  const good = new Map<string, readonly Loaded[]>();
  const issues = new Map<string, readonly Issue[]>();
  const stamps = new Map<string, string>();

  const scan = (): boolean => {
    const files = paths.flatMap(list);
    let different = false;
    for (const file of stamps.keys()) {
      if (files.includes(file)) continue;
      for (const map of [stamps, good, issues]) map.delete(file);
      different = true;
    }
    for (const file of files) {
      try {
        const s = statSync(file, { bigint: true });
        const stamp = `${s.mtimeNs}:${s.size}:${s.ino}`;
        const before = stamps.get(file);
        if (before === stamp) continue;
        // The same inode is being written in place, maybe still empty; a file renamed into place is whole.
        if (before?.endsWith(`:${s.ino}`) && now() - Number(s.mtimeMs) < SETTLE_MS) {
          again = true;
          continue;
        }
        const result = load(readFileSync(file, "utf8"), file);
        stamps.set(file, stamp);
        issues.set(file, result.issues);
        if (!result.issues.some((i) => i.level === "error") || !good.has(file))
          good.set(file, result.objects);
        different = true;
      } catch {
        // Gone or unreadable between listing and reading: the next scan sees what became of it.
      }
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
        const watcher = watch(folder, look);
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
    issues: () => inOrder(issues),
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

/** The folder of a file, or a folder and all below it; nothing for what does not exist. */
function folders(path: string): string[] {
  try {
    if (!statSync(path).isDirectory()) return [dirname(path)];
    const below = readdirSync(path, { recursive: true, withFileTypes: true });
    return [path, ...below.filter((entry) => entry.isDirectory()).map((e) => join(e.parentPath, e.name))];
  } catch {
    return [];
  }
}

function list(path: string): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path];
    return readdirSync(path, { recursive: true, encoding: "utf8" })
      .filter((f) => /\.(ya?ml|json)$/.test(f))
      .map((f) => join(path, f))
      .sort();
  } catch {
    return [];
  }
}
