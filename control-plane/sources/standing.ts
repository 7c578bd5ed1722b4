import type { Loaded } from "#policies/index.ts";
import { isCut, mayContinue } from "./half-written.ts";

/** How long an object stays that its file does not have any more: the pause in which a save may still be under way. */
export const WAIT_MS = {
  gone: 4_000,
  /** Taking it away ends processes, or takes their name away. */
  runs: 8_000,
  /** The file looks as if the rest of it were still to come. */
  cut: 8_000,
  /** The rest may be to come, or may have been replaced: people who edit wait for it, if it protects. */
  continues: 2_000,
  /** Taking it away opens what it denied, or what it asked a proof for. */
  protects: 12_000,
  /** No file is left at all: a mount that is away, a branch that is being changed. */
  empty: 30_000,
  /** Without a change anywhere in the folder. */
  quiet: 2_000,
} as const;

const PROTECTS: ReadonlySet<string> = new Set([
  "AuthorizationPolicy",
  "PeerAuthentication",
  "RequestAuthentication",
]);

const RUNS: ReadonlySet<string> = new Set([
  "CronJob",
  "DaemonSet",
  "Deployment",
  "Job",
  "Pod",
  "Service",
  "StatefulSet",
]);

export interface Awaited {
  /** As it stands. */
  readonly object: Loaded;
  readonly why: "no file" | "not in its file" | "cut";
  /** For so long it has stood for what is not there. */
  readonly forMs: number;
  /** The shortest time until it goes; 0 when it waits for the folder alone. */
  readonly leftMs: number;
}

interface Held {
  readonly object: Loaded;
  readonly why: "gone" | "cut" | "continues";
  readonly heldAt: number;
  /** From when its time runs. */
  since: number;
}
interface File {
  /** What it says now, as far as it makes sense. */
  readonly said: readonly Loaded[];
  /** The beginning, it seems, of one that is held. */
  readonly suspect: Loaded | null;
  /** By identity: what it said before, and stands until it has been without it for long enough. */
  readonly held: Map<string, Held>;
  exists: boolean;
  /** Written by machines, whole and on purpose: says nothing about what people's files are to say. */
  readonly machines: boolean;
  /** `said` and `held` in order. */
  effective: readonly Loaded[];
}

/** What the files say, and what they said a moment ago and may say again in the next: files are saved in many ways. */
export class Standing {
  readonly #files = new Map<string, File>();
  /** Identities that a file says now. */
  #places: ReadonlySet<string> | null = null;
  #objects: readonly Loaded[] | null = null;

  /** What a file says now. `whole`: nobody can be in the midst of writing it. `open`: its text ends within a word. */
  set(file: string, said: readonly Loaded[], now: number, how: { whole: boolean; open: boolean }): void {
    const before = this.#files.get(file);
    const known = new Map(before?.effective.map((o) => [identity(o), o]));
    const last = how.whole ? undefined : said.at(-1);
    const unknown = last !== undefined && !known.has(identity(last));
    // The name of an object is the first that a half-written file cuts.
    const suspect =
      unknown && [...known.values()].some((o) => isBeginningOf(last, o, how.open)) ? last : null;
    const next: File = { said, suspect, held: new Map(), exists: true, machines: false, effective: [] };
    const names = new Set(said.map(identity));
    const hold = (id: string, object: Loaded, why: Held["why"]): void => {
      const former = before?.held.get(id);
      next.held.set(id, former?.why === why ? former : { object, why, heldAt: now, since: now });
    };
    for (const [id, object] of known) if (!names.has(id)) hold(id, object, "gone");
    if (last !== undefined && suspect === null) {
      const id = identity(last);
      const former = known.get(id) ?? this.#standsElsewhere(id);
      if (former !== undefined && isCut(former.raw, last.raw, how.open)) hold(id, former, "cut");
      else if (former !== undefined && PROTECTS.has(kindOf(former)) && mayContinue(former.raw, last.raw))
        hold(id, former, "continues");
    }
    this.#files.set(file, next);
    this.#order(next, before?.effective ?? []);
  }

  /** What a file said before a restart. */
  remember(file: string, said: readonly Loaded[]): void {
    this.#put(file, said, false);
  }

  /** What a file says that is only ever changed whole and on purpose: at once. */
  replace(file: string, said: readonly Loaded[]): void {
    this.#put(file, said, true);
  }

  #put(file: string, said: readonly Loaded[], machines: boolean): void {
    this.#files.set(file, { said, suspect: null, held: new Map(), exists: true, machines, effective: said });
    this.#changed();
  }

  gone(file: string, now: number): void {
    const found = this.#files.get(file);
    if (found === undefined || !found.exists) return;
    this.set(file, [], now, { whole: true, open: false });
    this.#files.get(file)!.exists = false;
  }

  /** At once, whatever it said. */
  drop(file: string): void {
    this.#files.delete(file);
    this.#changed();
  }

  /** What is to be found in another file is neither gone nor twice there. True when something changed. */
  moved(): boolean {
    const said = this.#saidAnywhere();
    let different = false;
    for (const file of this.#files.values()) {
      const found = [...file.held].filter(([id, { why }]) => why === "gone" && said.has(id));
      if (found.length === 0) continue;
      for (const [id] of found) file.held.delete(id);
      this.#order(file, file.effective);
      different = true;
    }
    this.#tidy();
    return different;
  }

  /** The folder is not whole, or was not until now: all that is held waits anew. */
  restart(now: number): void {
    for (const file of this.#files.values()) for (const held of file.held.values()) held.since = now;
  }

  /** Lets go what has waited for long enough. */
  release(now: number, empty: boolean): boolean {
    let different = false;
    for (const file of this.#files.values()) {
      const due = [...file.held].filter(([, held]) => now - held.since >= waitOf(held, empty));
      if (due.length === 0) continue;
      for (const [id] of due) file.held.delete(id);
      this.#order(file, file.effective);
      different = true;
    }
    if (different) this.#tidy();
    return different;
  }

  /** In the order of the paths. */
  objects(): readonly Loaded[] {
    this.#objects ??= [...this.#files]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .flatMap(([, file]) => file.effective);
    return this.#objects;
  }

  awaited(now: number, empty: boolean): readonly Awaited[] {
    return [...this.#files.values()].flatMap((file) =>
      [...file.held.values()].map((held) => ({
        object: held.object,
        why: held.why !== "gone" ? ("cut" as const) : file.exists ? "not in its file" : "no file",
        forMs: now - held.heldAt,
        leftMs: Math.max(0, held.since + waitOf(held, empty) - now),
      })),
    );
  }

  /** Files of which something is known. */
  files(): Iterable<string> {
    return this.#files.keys();
  }
  has(file: string): boolean {
    return this.#files.has(file);
  }
  isEmpty(file: string): boolean {
    return (this.#files.get(file)?.effective.length ?? 0) === 0;
  }
  exists(file: string): boolean {
    return this.#files.get(file)?.exists === true;
  }
  holds(file: string): boolean {
    return (this.#files.get(file)?.held.size ?? 0) > 0;
  }

  #standsElsewhere(id: string): Loaded | undefined {
    for (const { effective, machines } of this.#files.values()) {
      const found = machines ? undefined : effective.find((o) => identity(o) === id);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #saidAnywhere(): ReadonlySet<string> {
    this.#places ??= new Set(
      [...this.#files.values()].flatMap((file) => (file.machines ? [] : file.said.map(identity))),
    );
    return this.#places;
  }

  #tidy(): void {
    for (const [path, file] of this.#files)
      if (!file.exists && file.held.size === 0) this.#files.delete(path);
  }

  /** What is held keeps its place behind what it followed: among equals the order of the file decides. */
  #order(file: File, before: readonly Loaded[]): void {
    const said = new Set(file.said.map(identity));
    const behind = new Map<string, Loaded[]>();
    let followed = "";
    for (const object of before) {
      const id = identity(object);
      if (said.has(id)) followed = id;
      else if (file.held.has(id)) pushTo(behind, followed, object);
    }
    const follow = (id: string): readonly Loaded[] => {
      const found = behind.get(id) ?? [];
      behind.delete(id);
      return found;
    };
    file.effective = [
      ...follow(""),
      ...file.said.flatMap((o) => {
        if (o === file.suspect && file.held.size > 0) return [];
        const id = identity(o);
        return [file.held.get(id)?.object ?? o, ...follow(id)];
      }),
    ];
    this.#changed();
  }

  #changed(): void {
    this.#places = null;
    this.#objects = null;
  }
}

function waitOf({ object, why }: Held, empty: boolean): number {
  const kind = kindOf(object);
  const longer = PROTECTS.has(kind) ? WAIT_MS.protects : RUNS.has(kind) ? WAIT_MS.runs : 0;
  const wait = why === "continues" ? WAIT_MS.continues : longer || WAIT_MS[why];
  return empty ? Math.max(wait, WAIT_MS.empty) : wait;
}

function isBeginningOf(cut: Loaded, whole: Loaded, open: boolean): boolean {
  const named =
    cut.name === whole.name ||
    // The namespace may stand behind the name, and be still to come.
    (open && isNamespaceOf(cut, whole) && whole.name.startsWith(cut.name));
  return cut.key === whole.key && named && isCut(whole.raw, cut.raw, open);
}

function isNamespaceOf(cut: Loaded, whole: Loaded): boolean {
  const said = (cut.raw["metadata"] as { namespace?: unknown } | undefined)?.namespace;
  return said === undefined || cut.namespace === whole.namespace;
}

function kindOf({ source }: Loaded): string {
  return source.kind;
}

function pushTo(lists: Map<string, Loaded[]>, key: string, object: Loaded): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [object]);
  else list.push(object);
}

function identity(o: Loaded): string {
  return `${o.key} ${o.namespace}/${o.name}`;
}
