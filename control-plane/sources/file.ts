import { lstatSync, type Stats, statSync } from "node:fs";
import { dirname, sep } from "node:path";
import { type Clock, systemClock } from "#lib/clock.ts";
import {
  FileLoader,
  type Issue,
  type Loaded,
  type LoadResult,
  MAX_BYTES,
  tooLarge,
} from "#policies/index.ts";
import { FolderWatch } from "./folder-watch.ts";
import type { LastGood } from "./last-good.ts";
import { type Read, readOpened, withFile } from "./read-text.ts";
import { awaitedIssue, missingPath, problem, unreadable } from "./source-issues.ts";
import { type Awaited, Standing, WAIT_MS } from "./standing.ts";
import { walk } from "./walk.ts";
import { hasWriter } from "./writer.ts";

export interface FileSource {
  /** What stands, in path order: what the files say, and what they said until a moment ago (Standing). */
  readonly objects: () => readonly Loaded[];
  readonly issues: () => readonly Issue[];
  /** One for each object that stands although its file does not have it any more, and how long it still will at least. */
  readonly awaited: () => readonly { readonly issue: Issue; readonly leftMs: number }[];
  /** Looks at the files now; `changed` runs before it returns if they differ. */
  readonly reload: () => void;
  readonly close: () => void;
}

export interface FileSourceOptions {
  readonly clock?: Clock;
  /** A file that the platform writes: a List in JSON, of any size. */
  readonly platform?: string | null;
  /** A folder whose files are only ever renamed into place and removed on purpose, as the platform's is. */
  readonly renamed?: string;
  /** Paths that the user named: one that is not there is worth a word. */
  readonly named?: readonly string[];
  /** Where good versions survive a restart. */
  readonly lastGood?: LastGood;
}

/** A file that is written in place is read when it has been left alone for so long. */
const SETTLE_MS = 30;
/** Whoever keeps a file open for writing, and writes nothing, is not in the midst of a save any more. */
const WRITER_MS = 30_000;
/** Every editor that renames would otherwise be told of at every save. */
const TOLD_AFTER_MS = 1_000;

interface State {
  /** "" = not read yet. */
  stamp: string;
  ino: bigint | null;
  /** The stamp that is waited for, and since when it is the same. */
  pending: string;
  pendingSince: number;
  broken: boolean;
  issues: readonly Issue[];
  /** Read, but not kept for a restart as long as older objects stand in its place. */
  text: string | null;
  readonly loader: FileLoader;
}

interface Seen {
  readonly files: readonly string[];
  readonly folders: ReadonlyMap<string, string>;
  /** What is below them is neither there nor gone. */
  readonly unknown: readonly string[];
  readonly issues: readonly Issue[];
}

/** Watches files and folders of YAML or JSON. `changed` runs at once for a first change, then at most every 50 ms. */
export function watchFiles(
  paths: readonly string[],
  changed: () => void,
  options: FileSourceOptions = {},
): FileSource {
  const source = new Files(paths, options);
  source.scan();
  const look = (): boolean => {
    if (source.scan()) changed();
    return source.unsettled;
  };
  const watch = new FolderWatch(paths, () => source.folders, look, options.clock ?? systemClock);
  return {
    objects: () => source.objects(),
    issues: () => source.issues(),
    awaited: () => source.awaited(),
    reload: look,
    close: () => watch.close(),
  };
}

class Files {
  readonly #paths: readonly string[];
  readonly #options: FileSourceOptions;
  readonly #clock: Clock;
  readonly #standing = new Standing();
  readonly #states = new Map<string, State>();
  #seen: Seen = { files: [], folders: new Map(), unknown: [], issues: [] };
  /** When anything in the folders last differed, monotonic ms. */
  #changedAt: number;
  /** Named paths that are not there; those that never were since for ever. */
  readonly #missingSince = new Map<string, number>();
  #told = "";
  #first = true;
  #wasEmpty = false;
  /** A file that has to do with the mesh is being written. */
  #writing = false;
  /** Any file is: look again soon. */
  unsettled = false;

  constructor(paths: readonly string[], options: FileSourceOptions) {
    this.#paths = paths;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#changedAt = this.#clock.monotonic();
    const { lastGood } = options;
    for (const [file, text] of lastGood?.kept ?? []) {
      if (paths.some((path) => file === path || file.startsWith(path + sep)))
        this.#standing.remember(file, new FileLoader(file).load(text).objects);
      else lastGood?.forget(file);
    }
  }

  get folders(): ReadonlyMap<string, string> {
    return this.#seen.folders;
  }

  objects(): readonly Loaded[] {
    return this.#standing.objects();
  }

  issues(): readonly Issue[] {
    const inOrder = [...this.#states].sort(([a], [b]) => (a < b ? -1 : 1));
    return [
      ...(this.#options.named ?? []).flatMap((path) => this.#missing(path)),
      ...this.#seen.issues,
      ...inOrder.flatMap(([, { issues }]) => issues),
      ...this.#awaited()
        .filter(({ forMs }) => forMs >= TOLD_AFTER_MS)
        .map((one) => awaitedIssue(one, this.#blocker())),
    ];
  }

  awaited(): readonly { issue: Issue; leftMs: number }[] {
    return this.#awaited().map((one) => ({ issue: awaitedIssue(one, this.#blocker()), leftMs: one.leftMs }));
  }

  #awaited(): readonly Awaited[] {
    return this.#standing.awaited(this.#clock.monotonic(), this.#empty);
  }

  /** True when anything differs from what the last one saw. */
  scan(): boolean {
    const now = this.#clock.monotonic();
    const seen = this.#look();
    let different = JSON.stringify(seen.issues) !== JSON.stringify(this.#seen.issues);
    this.#seen = seen;
    this.unsettled = false;
    this.#writing = false;
    const present = new Set(seen.files);
    for (const file of new Set([...this.#states.keys(), ...this.#standing.files()]))
      if (!present.has(file) && (this.#isAtOnce(file) || !this.#isUnknown(file)))
        different = this.#gone(file, now) || different;
    for (const file of seen.files) different = this.#read(file, now) || different;
    if (different) this.#standing.moved();
    const empty = this.#empty;
    if (this.#blocker() !== null || (this.#wasEmpty && !empty)) this.#standing.restart(now);
    this.#wasEmpty = empty;
    // Whoever takes an object from one file into another may be in the midst of it.
    const quiet = now - this.#changedAt >= WAIT_MS.quiet;
    if (quiet && this.#standing.release(now, empty)) different = true;
    if (different) this.#keep();
    this.#first = false;
    const told = JSON.stringify([
      (this.#options.named ?? []).flatMap((path) => this.#missing(path)),
      this.#awaited()
        .filter(({ forMs }) => forMs >= TOLD_AFTER_MS)
        .map(({ object, why }) => [object.source, why]),
    ]);
    if (told !== this.#told) different = true;
    this.#told = told;
    return different;
  }

  #look(): Seen {
    const files: string[] = [];
    const folders = new Map<string, string>();
    const unknown: string[] = [];
    const issues: Issue[] = [];
    for (const path of this.#paths) {
      const stat = statOf(path);
      if (stat !== null) this.#missingSince.delete(path);
      else if (!this.#missingSince.has(path))
        this.#missingSince.set(path, this.#first ? -Infinity : this.#clock.monotonic());
      if (stat === null) {
        // A file that is gone in a folder that is there is gone; of a folder that is gone nothing is known.
        const folder = dirname(path);
        unknown.push(path, ...(statOf(folder) === null ? [folder] : []));
        if (statOf(folder) !== null) folders.set(folder, "");
      } else if (stat.isDirectory()) {
        const walked = walk(path);
        files.push(...walked.files);
        for (const [folder, identity] of walked.folders) folders.set(folder, identity);
        unknown.push(...walked.unknown);
        issues.push(...walked.problems.map((p) => problem("error", "not-read", p.path, p.message)));
      } else {
        files.push(path);
        folders.set(dirname(path), "");
      }
    }
    return { files, folders, unknown, issues };
  }

  #gone(file: string, now: number): boolean {
    this.#states.delete(file);
    if (this.#isAtOnce(file)) this.#standing.drop(file);
    else {
      // Not one more time for what has gone before and still stands.
      if (!this.#standing.exists(file)) return false;
      this.#standing.gone(file, now);
      this.#changedAt = now;
    }
    return true;
  }

  #read(file: string, now: number): boolean {
    const state = this.#states.get(file) ?? newState(file);
    this.#states.set(file, state);
    // Data that an app writes beside the policies, again and again, is nothing that a change waits for.
    const foreign = this.#standing.has(file) && this.#standing.isEmpty(file);
    let stamp = "";
    try {
      const stat = statSync(file, { bigint: true });
      stamp = `${stat.mtimeNs}:${stat.ctimeNs}:${stat.size}:${stat.ino}`;
      if (stamp === state.stamp) return false;
      if (!stat.isFile()) throw new Error("it is not a regular file");
      if (stamp !== state.pending) {
        state.pending = stamp;
        state.pendingSince = now;
      }
      const restingMs = Math.max(this.#clock.now() - Number(stat.mtimeMs), now - state.pendingSince);
      const read = withFile(file, (opened) => {
        if (this.#isBeingWritten(file, state, stat.ino, opened.fd, restingMs)) return "unsettled";
        return readOpened(opened, this.#isAtOnce(file) ? Number.MAX_SAFE_INTEGER : MAX_BYTES);
      });
      if (read === "unsettled") {
        this.unsettled = true;
        if (foreign) return false;
        this.#writing = true;
        this.#changedAt = now;
        return false;
      }
      // Renamed into place, or it has been at rest: another inode, touched since its last byte was written.
      const whole =
        state.ino !== null &&
        state.ino !== stat.ino &&
        (stat.ctimeNs > stat.mtimeNs || restingMs >= WAIT_MS.quiet);
      state.ino = stat.ino;
      this.#take(file, state, read, whole, now);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      // Gone between listing and reading: the next look sees what became of it.
      if (code === "ENOENT" && !isLink(file)) {
        this.#states.delete(file);
        this.unsettled = true;
        if (!foreign) this.#writing = true;
        return false;
      }
      stamp ||= String(code);
      if (state.stamp === stamp) return false;
      this.#broken(
        file,
        state,
        unreadable(file, code === "ENOENT" ? "it is a link that leads nowhere" : message),
        now,
      );
    }
    state.stamp = stamp;
    if (!this.#isAtOnce(file) && !(foreign && this.#standing.isEmpty(file))) this.#changedAt = now;
    return true;
  }

  #isBeingWritten(file: string, state: State, ino: bigint, fd: number, restingMs: number): boolean {
    if (this.#isAtOnce(file)) return false;
    // At the start there is nothing else to go by.
    if (this.#first && !this.#standing.has(file)) return false;
    if (restingMs < WRITER_MS && hasWriter(fd) === true) return true;
    // The same inode is being written in place, maybe still empty; a file renamed into place is whole.
    return state.ino === ino && restingMs < SETTLE_MS;
  }

  #take(file: string, state: State, read: Read, whole: boolean, now: number): void {
    const result = this.#load(file, state.loader, read);
    if (isBroken(result)) {
      this.#broken(file, state, result, now);
      return;
    }
    state.broken = false;
    state.issues = result.issues;
    const text = read.bytes.toString("utf8");
    state.text = text;
    if (this.#isAtOnce(file)) this.#standing.replace(file, result.objects);
    else this.#standing.set(file, result.objects, now, { whole, open: /[^\n}\]"']$/.test(text) });
  }

  #load(file: string, loader: FileLoader, { bytes, tooLarge: cut }: Read): LoadResult {
    // Where objects were before, or which somebody named, is meant for the mesh whatever it looks like.
    const maybe = !this.#paths.includes(file) && (!this.#standing.has(file) || this.#standing.isEmpty(file));
    if (cut) return tooLarge(file, bytes.toString("latin1"), maybe);
    if (file === this.#options.platform) return loader.loadList(bytes.toString("utf8"));
    return this.#isAtOnce(file) ? loader.loadCopy(bytes.toString("utf8")) : loader.load(bytes, maybe);
  }

  /** Its last good version stays: of before a restart, too. Without one, what can be read of it. */
  #broken(file: string, state: State, result: LoadResult, now: number): void {
    state.broken = true;
    state.issues = result.issues;
    if (!this.#standing.has(file))
      this.#standing.set(file, result.objects, now, { whole: true, open: false });
  }

  /** For a restart: nothing that would be missing then. */
  #keep(): void {
    const { lastGood } = this.#options;
    if (lastGood === undefined) return;
    for (const [file, state] of this.#states) {
      if (state.text === null || this.#isAtOnce(file) || this.#standing.holds(file)) continue;
      if (lastGood.keep(file, state.text)) state.text = null;
    }
    for (const file of lastGood.kept.keys()) if (!this.#standing.has(file)) lastGood.forget(file);
  }

  get #empty(): boolean {
    return !this.#seen.files.some((file) => !this.#isAtOnce(file));
  }

  /** What keeps the folders from being whole. */
  #blocker(): string | null {
    const [gone] = this.#seen.unknown.filter((path) =>
      [...this.#standing.files()].some((file) => file.startsWith(path + sep)),
    );
    if (gone !== undefined) return `${gone} is there again`;
    if (this.#writing) return "nothing is being written";
    const broken = [...this.#states].find(([file, state]) => state.broken && !this.#isAtOnce(file));
    return broken === undefined ? null : `${broken[0]} is mended`;
  }

  #isAtOnce(file: string): boolean {
    const { platform, renamed } = this.#options;
    return file === platform || (renamed !== undefined && file.startsWith(renamed + sep));
  }

  #isUnknown(file: string): boolean {
    return this.#seen.unknown.some((path) => file.startsWith(path + sep));
  }

  #missing(path: string): Issue[] {
    const since = this.#missingSince.get(path);
    if (since === undefined || this.#clock.monotonic() - since < TOLD_AFTER_MS) return [];
    const stands = [...this.#standing.files()].some((file) => file.startsWith(path + sep));
    return [missingPath(path, stands)];
  }
}

function newState(file: string): State {
  return {
    stamp: "",
    ino: null,
    pending: "",
    pendingSince: 0,
    broken: false,
    issues: [],
    text: null,
    loader: new FileLoader(file),
  };
}

function isBroken(result: LoadResult): boolean {
  return result.issues.some((i) => i.level === "error");
}

function statOf(path: string): Stats | null {
  try {
    return statSync(path);
  } catch {
    return null;
  }
}

function isLink(path: string): boolean {
  try {
    return lstatSync(path).isSymbolicLink();
  } catch {
    return false;
  }
}
