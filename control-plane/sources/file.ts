import { readdirSync, readFileSync, statSync, watch } from "node:fs";
import { join } from "node:path";
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
// fs.watch misses changes on network and overlay file systems, and paths that do not exist yet.
const POLL_MS = 500;

/** Watches files and folders of YAML or JSON. `changed` runs at once for a first change, then at most every 50 ms. */
export function watchFiles(paths: readonly string[], changed: () => void): FileSource {
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
        if (stamps.get(file) === stamp) continue;
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
  const watchers = paths.flatMap((path) => {
    try {
      return [watch(path, { recursive: true }, look).on("error", () => undefined)];
    } catch {
      return [];
    }
  });
  const poll = setInterval(look, POLL_MS);
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
      for (const w of watchers) w.close();
    },
  };
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
