/** What `weft apply` brought, read and taken back without a control plane: after `weft down`, or when `up` refuses it. */
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { DeletedAnswer, NamedObject } from "#control-plane/admin/contract.ts";
import { readCopies } from "#control-plane/sources/applied.ts";
import { isRunning } from "#local/index.ts";
import type { Loaded } from "#policies/index.ts";
import { UserError } from "./errors.ts";

export interface Applied {
  /** "Kind namespace/name" */
  readonly label: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly file: string;
  readonly line: number;
  /** ISO text, "" = unknown. */
  readonly appliedAt: string;
  readonly copy: string;
}

/** Of a control plane's or a folder's objects those that `weft apply` has put there. */
export function readApplied(objects: readonly Loaded[]): Applied[] {
  return objects.flatMap(({ origin, source: { kind, namespace, name, file, line } }) =>
    origin.kind !== "applied"
      ? []
      : [
          {
            label: namespace === "" ? `${kind} ${name}` : `${kind} ${namespace}/${name}`,
            kind,
            namespace,
            name,
            file,
            line,
            appliedAt: origin.appliedAt,
            copy: origin.copy,
          },
        ],
  );
}

/** From the files in the state directory, where no control plane answers. */
export function appliedOffline(stateDir: string): Applied[] {
  return readApplied(readCopies(stateDir).objects);
}

/** Does a control plane answer for the state directory, or will it in a moment? A socket may have been left. */
export async function isServed(stateDir: string): Promise<boolean> {
  const answers = await new Promise<boolean>((done) => {
    const socket = connect(join(stateDir, "admin.sock"));
    socket.once("connect", () => done(true)).once("error", () => done(false));
    socket.once("connect", () => socket.destroy());
  });
  return answers || isRunning(stateDir);
}

/** As the control plane does it, where none runs. */
export async function deleteOffline(
  stateDir: string,
  wanted: readonly NamedObject[] | "all",
): Promise<DeletedAnswer> {
  if (!existsSync(stateDir)) return { deleted: [], errors: wanted === "all" ? [] : wanted.map(missing) };
  return await locked(stateDir, () => {
    if (isRunning(stateDir)) throw new UserError("a mesh starts here: try again when it runs");
    const { objects, unreadable } = readCopies(stateDir);
    const kept = readApplied(objects);
    const errors: string[] = [];
    const found =
      wanted === "all"
        ? kept
        : wanted.flatMap((one) => {
            const same = kept.filter(
              ({ kind, namespace, name }) =>
                kind === one.kind && name === one.name && (namespace === "" || namespace === one.namespace),
            );
            if (same.length === 0) errors.push(missing(one));
            return same;
          });
    for (const { copy } of found) rmSync(copy, { force: true });
    // Copies of which nothing can be made any more have no other way out.
    for (const copy of wanted === "all" ? unreadable : []) rmSync(copy, { force: true });
    return { deleted: found.map(({ label }) => label), errors };
  });
}

const missing = ({ kind, namespace, name }: NamedObject): string =>
  `${namespace === "" || namespace === "-" ? `${kind} ${name}` : `${kind} ${namespace}/${name}`} was not applied`;

const PATIENCE_MS = 5_000;

/** One at a time: a file with the process id of who is at it. */
async function locked<T>(stateDir: string, run: () => T): Promise<T> {
  const file = join(stateDir, "applied.lock");
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  for (let waited = 0; ; waited += 50) {
    try {
      const fd = openSync(file, "wx", 0o600);
      writeSync(fd, String(process.pid));
      closeSync(fd);
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      if (!lives(file)) rmSync(file, { force: true });
      else if (waited >= PATIENCE_MS)
        throw new UserError(`${file} is held by another \`weft delete\`: try again when it is done`);
      else await delay(50);
    }
  }
  try {
    return run();
  } finally {
    rmSync(file, { force: true });
  }
}

function lives(file: string): boolean {
  try {
    const pid = Number(readFileSync(file, "utf8"));
    return pid === 0 || process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
