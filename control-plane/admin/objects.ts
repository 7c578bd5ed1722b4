import { rmSync } from "node:fs";
import {
  FileLoader,
  type Issue,
  type Loaded,
  load,
  sayIssue,
  validate,
  type World,
  writeCopy,
} from "#policies/index.ts";
import type { Config } from "../config.ts";
import { toWorld } from "../pipeline.ts";
import { copyOf, writeCopies } from "../sources/applied.ts";
import type { AppliedAnswer, DeletedAnswer, NamedObject, NamedText } from "./contract.ts";
import { unwritable } from "./dry-run.ts";

export class AdminError extends Error {
  readonly status: number;
  readonly errors: readonly string[];
  constructor(status: number, errors: readonly string[]) {
    super(errors.join("\n"));
    this.status = status;
    this.errors = errors;
  }
}

/** "Kind namespace/name", for people. */
export const nameOf = (o: Loaded): string => {
  const { kind, namespace, name } = o.source;
  return namespace === "" ? `${kind} ${name}` : `${kind} ${namespace}/${name}`;
};

/** Checks the texts with the rest of the world, then keeps them below applied/. Throws AdminError and changes nothing. */
export async function applyObjects(
  texts: readonly NamedText[],
  current: readonly Loaded[],
  config: Config,
  before: World,
): Promise<AppliedAnswer> {
  const read = texts.map(({ file, text }) => load(text, file));
  refuse(read.flatMap(({ issues }) => issues));
  const all = read.flatMap(({ objects }) => objects);
  if (all.length === 0)
    throw new AdminError(422, [`${texts.map(({ file }) => file).join(", ") || "request"}: no object in it`]);
  const wanted = all.filter((o) => !isPlatforms(o, current, config));
  const files = new Map<string, Loaded>();
  for (const o of wanted) {
    const copy = copyOf(o, config.stateDir);
    if (files.has(copy))
      throw new AdminError(422, [`${o.source.file}:${o.source.line}: ${nameOf(o)} is in it twice`]);
    files.set(copy, o);
  }
  const appliedAt = new Date().toISOString();
  const copies = new Map(
    [...files].map(([copy, o]) => [copy, serialize(o, createdOf(o, current), appliedAt)]),
  );
  const incoming = [...copies].flatMap(([copy, text]) => {
    const again = new FileLoader(copy).loadCopy(text);
    refuse(again.issues);
    return again.objects;
  });
  const rest = current.filter(({ origin }) => origin.kind !== "applied" || !files.has(origin.copy));
  try {
    const world = toWorld([...rest, ...incoming], config, before);
    refuse(validate(world));
    const errors = incoming.length === 0 ? [] : unwritable(world, incoming, before, config);
    if (errors.length > 0) throw new AdminError(422, errors);
  } catch (error) {
    throw error instanceof AdminError ? error : new AdminError(422, [(error as Error).message]);
  }
  await writeCopies(copies, config.stateDir);
  return { applied: wanted.map(nameOf) };
}

/** Takes back what applyObjects kept; what cannot be taken back is told, and the others are. */
export function deleteObjects(
  wanted: readonly NamedObject[] | "all",
  current: readonly Loaded[],
  config: Config,
): DeletedAnswer {
  const kept = current.filter(({ origin }) => origin.kind === "applied");
  const errors: string[] = [];
  const found =
    wanted === "all"
      ? kept
      : wanted.flatMap((one) => {
          const [first, second] = kept.filter((o) => isMeant(o, one));
          if (first === undefined) errors.push(whyNot(one, current, config));
          else if (second !== undefined)
            errors.push(
              `${labelOf(one)} is more than one object: say ${[first, second].map(({ source: s }) => `${s.kind}.${s.group}`).join(" or ")}`,
            );
          else return [first];
          return [];
        });
  for (const { origin } of found) if (origin.kind === "applied") rmSync(origin.copy, { force: true });
  return { deleted: found.map(nameOf), errors };
}

const labelOf = ({ kind, namespace, name }: NamedObject): string =>
  namespace === "" || namespace === "-" ? `${kind} ${name}` : `${kind} ${namespace}/${name}`;

/** `kind` may carry its group: Gateway.networking.istio.io. */
function isMeant({ source: s }: Loaded, { kind, namespace, name }: NamedObject): boolean {
  return (
    (s.kind === kind || `${s.kind}.${s.group}` === kind) &&
    (s.namespace === namespace || s.namespace === "") &&
    s.name === name
  );
}

function whyNot(one: NamedObject, current: readonly Loaded[], config: Config): string {
  const other = current.find((o) => isMeant(o, one));
  if (other === undefined) {
    const elsewhere = new Set(
      current
        .filter((o) => isMeant(o, { ...one, namespace: o.source.namespace }))
        .map((o) => o.source.namespace),
    );
    const hint =
      elsewhere.size === 0 ? "" : `; there is one in ${[...elsewhere].join(", ")}: say which with -n`;
    return `${labelOf(one)}: no such object${hint}`;
  }
  if (other.source.file === config.platform) return `${labelOf(one)} was not applied: the platform made it`;
  return `${labelOf(one)} was not applied: it comes from ${other.source.file}:${other.source.line}; remove it there`;
}

/** What the platform made of other objects: a round trip through `weft get -o yaml` must not make it anybody's own. */
function isPlatforms(o: Loaded, current: readonly Loaded[], { platform }: Config): boolean {
  const same = current.filter((c) => c.key === o.key && c.namespace === o.namespace && c.name === o.name);
  return same.length > 0 && same.every(({ source }) => source.file === platform);
}

function refuse(issues: readonly Issue[]): void {
  const errors = issues.filter((i) => i.level === "error").map(sayIssue);
  if (errors.length > 0) throw new AdminError(422, errors);
}

let last = 0;
/** Of two applies one after the other the first is the older, however fast they come. */
function now(): string {
  last = Math.max(Date.now(), last + 1);
  return new Date(last).toISOString();
}

/**
 * Which of two policies counts is often decided by age (Istio: the oldest wins), so what is applied again keeps its
 * time of creation, and what hides an object from a file keeps that one's. "" = none was known.
 */
function createdOf(o: Loaded, current: readonly Loaded[]): string {
  const same = current.filter((c) => c.key === o.key && c.namespace === o.namespace && c.name === o.name);
  const before = same.find(({ origin }) => origin.kind === "applied") ?? same[0];
  return before === undefined ? o.created || now() : before.created;
}

/** What a server fills in: it is not the author's, and says nothing about the copy. */
const SERVERS = ["uid", "resourceVersion", "generation", "managedFields", "selfLink"];

function serialize(o: Loaded, created: string, appliedAt: string): string {
  const { status: _, ...raw } = o.raw;
  const metadata = Object.fromEntries(
    Object.entries({
      ...(o.raw["metadata"] as object),
      ...(o.namespace && { namespace: o.namespace }),
      creationTimestamp: created === "" ? undefined : created,
    }).filter(([key]) => !SERVERS.includes(key)),
  );
  return writeCopy({ ...raw, metadata }, o.source.file, appliedAt, o.line);
}
