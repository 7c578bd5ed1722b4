/**
 * How a container sees its volumes at their mountPath: its processes run in a mount namespace of their own, in which each
 * volume is bound there. A path that the machine does not have is made without touching the machine: its nearest folder is
 * shown with everything that is in it, and the new place beside.
 */
import { spawn } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import type { PodNetwork } from "../network/network.ts";

export interface Bind {
  /** Absolute, as the container sees it. */
  readonly target: string;
  /** A folder or a file of this machine. */
  readonly source: string;
  readonly readOnly: boolean;
}

/** How to get a mount namespace here; null: not at all. `users`: with a user namespace around it. */
export type Mounter = { readonly prefix: readonly string[]; readonly users: boolean } | null;

const PLAIN = ["unshare", "--mount", "--propagation", "slave"];
const AS_USER = [
  "unshare",
  "--user",
  "--map-current-user",
  "--keep-caps",
  "--mount",
  "--propagation",
  "slave",
];

const DROP = "setpriv --inh-caps=-all --ambient-caps=-all";

/** Found out by trying, in the pod's own namespaces. */
export async function findMounter(network: PodNetwork, env: NodeJS.ProcessEnv): Promise<Mounter> {
  for (const prefix of [PLAIN, AS_USER])
    if (await succeeds(network.enter([...prefix, "mount", "--rbind", "/", "/"], "/"), env))
      return { prefix, users: prefix === AS_USER };
  return null;
}

function succeeds([file = "", ...args]: readonly string[], env: NodeJS.ProcessEnv): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(file, args, { env, stdio: "ignore" });
    child.once("error", () => resolve(false));
    child.once("exit", (code) => resolve(code === 0));
  });
}

/**
 * Writes the script that mounts, changes to `cwd` and becomes the command; returns how it is run. `dir` is the container's
 * own place in the state directory.
 */
export function mounted(
  mounter: NonNullable<Mounter>,
  binds: readonly Bind[],
  dir: string,
  command: readonly string[],
  cwd: string,
): readonly string[] {
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const plan = new Plan(join(dir, "shown"));
  for (const bind of binds.toSorted((a, b) => depth(a.target) - depth(b.target))) plan.add(bind);
  const script = join(dir, "mount.sh");
  writeFileSync(script, plan.script(join(dir, "fstab"), mounter.users ? DROP : ""), { mode: 0o600 });
  return [...mounter.prefix, "sh", script, cwd, ...command];
}

/** Into the namespaces of a container that runs as `pid`. */
export function entered(
  mounter: NonNullable<Mounter>,
  pid: number,
  command: readonly string[],
  cwd: string,
): string[] {
  const users = mounter.users ? ["--user", "--preserve-credentials"] : [];
  const into = ["nsenter", "--target", String(pid), ...users, "--mount", "--root"];
  return [...into, "sh", "-c", 'cd "$0" && exec "$@"', cwd, ...command];
}

const depth = (path: string): number => path.split("/").filter((part) => part !== "").length;

class Plan {
  readonly #shownDir: string;
  /** Folders that are shown anew -> where their copy is. */
  readonly #shown = new Map<string, string>();
  readonly #inner: string[] = [];
  readonly #outer: string[] = [];
  readonly #volumes: Bind[] = [];

  constructor(shownDir: string) {
    this.#shownDir = shownDir;
  }

  add(bind: Bind): void {
    this.#makePlace(bind.target, statSync(bind.source).isDirectory());
    this.#volumes.push(bind);
  }

  #makePlace(target: string, folder: boolean): void {
    const outer = this.#volumes.findLast((v) => isBelow(target, v.target));
    if (outer !== undefined) {
      make(join(outer.source, relative(outer.target, target)), folder);
      return;
    }
    const shown = [...this.#shown.keys()]
      .filter((path) => isBelow(target, path))
      .sort((a, b) => b.length - a.length)[0];
    if (shown !== undefined) {
      const place = join(this.#shown.get(shown)!, relative(shown, target));
      // Below a copy's own entries is the machine again.
      if (fits(place, folder) || !existsSync(join(shown, relative(shown, target).split("/")[0]!))) {
        make(place, folder);
        return;
      }
    }
    if (fits(target, folder)) return;
    let nearest = dirname(target);
    while (!isFolder(nearest)) nearest = dirname(nearest);
    make(join(this.#show(nearest), relative(nearest, target)), folder);
  }

  /** A folder with all that is in `path`, each bound. */
  #show(path: string): string {
    const copy = join(this.#shownDir, String(this.#shown.size));
    mkdirSync(copy, { recursive: true });
    this.#shown.set(path, copy);
    // What holds the copies themselves goes first, or it would hold all the others' mounts, too.
    const entries = readdirSync(path).toSorted(
      (a, b) => Number(isBelow(copy, join(path, b))) - Number(isBelow(copy, join(path, a))),
    );
    for (const entry of entries) {
      const from = join(path, entry);
      const to = join(copy, entry);
      const stat = lstatSync(from, { throwIfNoEntry: false });
      if (stat === undefined) continue;
      if (stat.isSymbolicLink()) symlinkSync(readlinkSync(from), to);
      else {
        make(to, stat.isDirectory());
        this.#inner.push(mountLine(from, to, stat.isDirectory()));
      }
    }
    if (path !== "/") this.#outer.push(mountLine(copy, path, true));
    return copy;
  }

  /** `drop` runs a command without the rights that mounting took. */
  script(fstab: string, drop: string): string {
    const root = this.#shown.get("/");
    const into = (target: string): string => (root === undefined ? target : join(root, target));
    const outer = root === undefined ? this.#outer : this.#outer.map((line) => rebase(line, root));
    const volumes = this.#volumes.map((v) =>
      mountLine(v.source, into(v.target), statSync(v.source).isDirectory()),
    );
    writeFileSync(fstab, `${[...this.#inner, ...outer, ...volumes].join("\n")}\n`, { mode: 0o600 });
    const readOnly = this.#volumes.filter((v) => v.readOnly).map((v) => quote(into(v.target)));
    return `fail() { echo "weft: a volume could not be mounted: $*" >&2; exit 125; }
said=$(mount -a -T ${quote(fstab)} 2>&1) || fail "$said"
for place in ${readOnly.join(" ")}; do
  for more in "" ,nosuid,nodev ,nosuid,nodev,noexec; do
    said=$(mount -o "remount,bind,ro$more" "$place" 2>&1) && break
    [ "$more" != ,nosuid,nodev,noexec ] || fail "$said"
  done
done
dir=$1; shift
${
  root === undefined
    ? `cd "$dir" || exit 126\nexec ${drop} "$@"`
    : `exec chroot ${quote(root)} sh -c 'cd "$0" || exit 126; exec ${drop} "$@"' "$dir" "$@"`
}
`;
  }
}

function isBelow(path: string, folder: string): boolean {
  return path !== folder && path.startsWith(folder.endsWith("/") ? folder : `${folder}/`);
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function fits(path: string, folder: boolean): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat !== undefined && stat.isDirectory() === folder;
}

function make(path: string, folder: boolean): void {
  if (fits(path, folder)) return;
  if (folder) mkdirSync(path, { recursive: true });
  else {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, "");
  }
}

/** fstab(5): fields are split at spaces, and a space within one is \040. */
function mountLine(source: string, target: string, folder: boolean): string {
  return `${field(source)} ${field(target)} none ${folder ? "rbind" : "bind"} 0 0`;
}

function rebase(line: string, root: string): string {
  const [source, target, ...rest] = line.split(" ");
  return [source, `${field(root)}${target}`, ...rest].join(" ");
}

function field(path: string): string {
  return path.replace(/[ \t\n\\]/g, (c) => `\\${c.charCodeAt(0).toString(8).padStart(3, "0")}`);
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
