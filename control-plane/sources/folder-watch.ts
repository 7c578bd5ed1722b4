import { type FSWatcher, watch } from "node:fs";
import { basename, extname } from "node:path";
import type { Clock } from "#lib/clock.ts";

const BURST_MS = 50;
// fs.watch misses changes on network and overlay file systems, and paths that do not exist yet.
const POLL_MS = 500;
/** A look at many files takes its time: it gets at most this share of the process. */
const SHARE = 1 / 10;

/** Calls `look` when something in the folders changes: at once for the first, then at most every 50 ms; and now and then. */
export class FolderWatch {
  readonly #named: ReadonlySet<string>;
  readonly #folders: () => ReadonlyMap<string, string>;
  readonly #look: () => boolean;
  readonly #clock: Clock;
  readonly #watchers = new Map<string, { identity: string; watcher: FSWatcher }>();
  #cancelPause: (() => void) | null = null;
  #cancelPoll: () => void;
  #again = false;
  #lookMs = 0;

  /** `look` is true when it has to look again soon. `folders`: path -> what tells it from another of that path. */
  constructor(
    paths: readonly string[],
    folders: () => ReadonlyMap<string, string>,
    look: () => boolean,
    clock: Clock,
  ) {
    this.#named = new Set(paths.map((path) => basename(path)));
    this.#folders = folders;
    this.#look = look;
    this.#clock = clock;
    this.#follow();
    this.#cancelPoll = clock.after(POLL_MS, this.#poll);
  }

  close(): void {
    this.#cancelPoll();
    this.#cancelPause?.();
    for (const { watcher } of this.#watchers.values()) watcher.close();
  }

  readonly #poll = (): void => {
    this.#happened();
    this.#cancelPoll = this.#clock.after(Math.max(POLL_MS, this.#lookMs / SHARE), this.#poll);
  };

  #happened(): void {
    if (this.#cancelPause !== null) {
      this.#again = true;
      return;
    }
    const began = performance.now();
    this.#again = this.#look();
    this.#follow();
    this.#lookMs = performance.now() - began;
    this.#cancelPause = this.#clock.after(Math.max(BURST_MS, this.#lookMs), () => {
      this.#cancelPause = null;
      if (this.#again) this.#happened();
    });
  }

  /** Folders, not files: an editor that renames a new file into place leaves a watch on the old one. */
  #follow(): void {
    const wanted = this.#folders();
    for (const [folder, { identity, watcher }] of this.#watchers) {
      if (wanted.get(folder) === identity) continue;
      watcher.close();
      this.#watchers.delete(folder);
    }
    for (const [folder, identity] of wanted) {
      if (this.#watchers.has(folder)) continue;
      try {
        const watcher = watch(folder, (_event, name) => {
          if (this.#concerns(name)) this.#happened();
        });
        // A folder that was removed: the next look watches its successor.
        watcher.on("error", () => {
          watcher.close();
          this.#watchers.delete(folder);
        });
        this.#watchers.set(folder, { identity, watcher });
      } catch {
        // Gone, or no inotify watches left: polling still sees it.
      }
    }
  }

  /**
   * Not the files beside policies: the state directory holds databases and logs, and a file that is written to be
   * renamed would begin the pause in which its rename then waits. What has no ending may be a folder; `..data` is the
   * link that a ConfigMap's mount changes.
   */
  #concerns(name: string | null): boolean {
    return (
      name === null ||
      this.#named.has(name) ||
      name.startsWith("..") ||
      ["", ".yaml", ".yml", ".json"].includes(extname(name))
    );
  }
}
