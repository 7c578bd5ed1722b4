/** Documents of one kind, generated until the control plane accepts them: what it refuses is taken out, field by field. */
import fc from "fast-check";
import { type Loaded, load } from "#policies/index.ts";
import { KINDS, type KindKey } from "#policies/kinds.ts";
import { valuesOf } from "./generate.ts";
import { aim, BATCH } from "./mesh.ts";

export interface Document {
  readonly text: string;
  readonly loaded: Loaded;
}
export interface Generated {
  /** The specs as they were generated, whatever became of them. */
  readonly specs: readonly unknown[];
  readonly accepted: readonly Document[];
  /** Documents that were read, the refused ones too. */
  readonly read: number;
  /** What the control plane said and must not: a stack trace, "undefined". */
  readonly badWords: readonly string[];
}

/** The next BATCH accepted documents: those of one seed are always the same. */
export function generate(key: KindKey, seed: number): Generated {
  const [group, kind] = key.split("/") as [string, string];
  const { spec, versions } = KINDS[key];
  const accepted: Document[] = [];
  const badWords: string[] = [];
  const specs: unknown[] = [];
  let read = 0;
  for (const value of fc.sample(valuesOf(spec), { seed, numRuns: BATCH * 3 })) {
    if (accepted.length === BATCH) break;
    specs.push(value);
    const i = accepted.length;
    const document = {
      apiVersion: group === "" ? versions[0] : `${group}/${versions[0]}`,
      kind,
      metadata: { name: `f${i}`, creationTimestamp: `2026-01-01T00:00:${String(i).padStart(2, "0")}Z` },
      spec: aim(key, structuredClone(value), i),
    };
    for (let left = 40; left > 0; left--) {
      read++;
      const text = toText(document);
      const { objects, issues } = load(text, `${kind}.yaml`);
      const error = issues.find((issue) => issue.level === "error");
      for (const { message } of issues)
        if (/undefined|TypeError|\bat .*\.ts:|\[object/.test(message)) badWords.push(`${text}: ${message}`);
      if (error === undefined) {
        if (objects[0] !== undefined) accepted.push({ text, loaded: objects[0] });
        break;
      }
      if (!takeOut(document, error.path, left)) break;
    }
  }
  return { specs, accepted, read, badWords };
}

/** As YAML, which has NaN and infinity. */
function toText(document: unknown): string {
  return JSON.stringify(document, (_, value: unknown) =>
    typeof value === "number" && !Number.isFinite(value) ? `!${value}` : value,
  ).replace(/"!(NaN|Infinity|-Infinity)"/g, (_, name: string) => (name === "NaN" ? ".nan" : ".inf"));
}

/**
 * Removes what stands at "spec.http[0].match" (keys may have dots); of a map with several fields one, chosen by `turn`.
 * False: nothing is left to remove.
 */
function takeOut(document: object, path: string, turn: number): boolean {
  let holder: Record<string, unknown> | unknown[] = document as Record<string, unknown>;
  let rest = path;
  let last: { holder: typeof holder; key: string } | null = null;
  while (rest !== "") {
    const keys = Object.keys(holder)
      .filter((k) => {
        const part = Array.isArray(holder) ? `[${k}]` : k;
        return rest === part || rest.startsWith(`${part}.`) || rest.startsWith(`${part}[`);
      })
      .sort((a, b) => b.length - a.length);
    const [key] = keys;
    if (key === undefined) break;
    last = { holder, key };
    rest = rest.slice(Array.isArray(holder) ? key.length + 2 : key.length).replace(/^\./, "");
    const next = (holder as Record<string, unknown>)[key];
    if (typeof next !== "object" || next === null) break;
    holder = next as typeof holder;
  }
  if (rest === "" && !Array.isArray(holder) && holder !== document && Object.keys(holder).length > 1) {
    const keys = Object.keys(holder);
    delete holder[keys[turn % keys.length]!];
    return true;
  }
  if (last === null || (last.holder === document && last.key !== "metadata")) return false;
  if (Array.isArray(last.holder)) last.holder.splice(Number(last.key), 1);
  else delete last.holder[last.key];
  return true;
}
