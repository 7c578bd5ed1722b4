import {
  constructFromEvents,
  defineScalarTag,
  EVENT_ID,
  type Event,
  mapTag,
  mergeTag,
  NOT_RESOLVED,
  parseEvents,
  Schema,
  seqTag,
  strTag,
  YAMLException,
} from "js-yaml";
import type { Path } from "./schema.ts";

/** Nested deeper than any object of any API; what is deeper is made to exhaust a stack. */
const DEEPEST = 100;
const MAX_ALIASES = 100;
/** Of a document with aliases, each counted as often as it is used. */
const MAX_VALUES = 100_000;

export interface YamlDocument {
  readonly value: unknown;
  /** 1-based, in the text: of the value at `path`, or of the nearest that there is. */
  readonly line: (path: Path) => number;
}

/** Why a text is no YAML; `line` is 1-based. */
export class YamlError extends Error {
  readonly line: number;
  constructor(message: string, line: number) {
    super(message);
    this.line = line;
  }
}

/** Throws a YamlError. */
export function readYaml(text: string): YamlDocument[] {
  try {
    const events = parseEvents(text, { maxDepth: DEEPEST });
    const values = constructFromEvents(events, { source: text, schema: KUBERNETES, maxAliases: MAX_ALIASES });
    if (events.some(({ type }) => type === EVENT_ID.ALIAS)) countValues(values, { left: MAX_VALUES });
    // Lines are wanted of few documents, and again: made from the text when the first is asked for.
    let places: Places | null = null;
    return values.map((value, i) => ({
      value,
      line: (path) => {
        places ??= new Places(text);
        return places.line(i, path);
      },
    }));
  } catch (error) {
    if (error instanceof YAMLException) throw new YamlError(say(error.reason), (error.mark?.line ?? 0) + 1);
    throw new YamlError(say((error as Error).message), 1);
  }
}

/** An alias is the same value once more; whoever walks through it does so each time. */
function countValues(value: unknown, count: { left: number }): void {
  if (--count.left < 0) throw new Error("maxAliases");
  if (typeof value !== "object" || value === null) return;
  for (const one of Object.values(value)) countValues(one, count);
}

function say(reason: string): string {
  if (/maxDepth|call stack/.test(reason)) return "the YAML is nested too deeply to be read";
  if (reason.includes("maxAliases")) return `more than ${MAX_ALIASES} uses of aliases: write the values out`;
  if (reason.includes("duplicated mapping key"))
    return "the same key stands twice in one map: remove one of them";
  return `the YAML is broken: ${reason}`;
}

/**
 * Plain scalars as Kubernetes' own reader takes them (sigs.k8s.io/yaml, go-yaml 2): YAML 1.1's booleans and octal
 * numbers, "_" in numbers, but neither dates nor numbers of base 60.
 */
const scalar = (name: string, read: (source: string) => unknown) =>
  defineScalarTag<unknown>(`tag:yaml.org,2002:${name}`, {
    implicit: true,
    resolve: (source) => {
      const value = read(source);
      return value === undefined ? NOT_RESOLVED : value;
    },
    identify: () => false,
  });

const NULLS: ReadonlySet<string> = new Set(["", "~", "null", "Null", "NULL"]);
const TRUE = /^(y|Y|yes|Yes|YES|true|True|TRUE|on|On|ON)$/;
const FALSE = /^(n|N|no|No|NO|false|False|FALSE|off|Off|OFF)$/;

function integer(source: string): number | undefined {
  const [, sign, digits = ""] = INTEGER.exec(source.replaceAll("_", "")) ?? [];
  if (sign === undefined || source.startsWith("_")) return undefined;
  const value = Number(/^0[0-7]+$/.test(digits) ? `0o${digits}` : digits);
  return sign === "-" ? -value : value;
}
const INTEGER = /^([-+]?)(0|0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|[1-9][0-9]*)$/;

function float(source: string): number | undefined {
  if (/^[-+]?\.(inf|Inf|INF)$/.test(source)) return source.startsWith("-") ? -Infinity : Infinity;
  if (/^\.(nan|NaN|NAN)$/.test(source)) return NaN;
  const plain = source.replaceAll("_", "");
  const isNumber = /^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$/.test(plain);
  return isNumber && !source.startsWith("_") ? Number(plain) : undefined;
}

const KUBERNETES = new Schema([
  strTag,
  seqTag,
  mapTag,
  mergeTag,
  scalar("null", (source) => (NULLS.has(source) ? null : undefined)),
  scalar("bool", (source) => (TRUE.test(source) ? true : FALSE.test(source) ? false : undefined)),
  scalar("int", integer),
  scalar("float", float),
]);

interface Place {
  readonly offset: number;
  /** By key or index, as text. */
  readonly inside: Map<string, Place> | null;
}

/** Where each value of a text stands. */
class Places {
  readonly #text: string;
  readonly #documents: readonly (Place | null)[];
  readonly #lineStarts: number[] = [0];

  constructor(text: string) {
    this.#text = text;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) this.#lineStarts.push(at + 1);
    this.#documents = this.#read(parseEvents(text, { maxDepth: DEEPEST }));
  }

  line(document: number, path: Path): number {
    let place = this.#documents[document] ?? null;
    if (place === null) return 1;
    for (const part of path) {
      const next: Place | undefined = place.inside?.get(String(part));
      if (next === undefined) break;
      place = next;
    }
    let low = 0;
    let high = this.#lineStarts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#lineStarts[middle]! <= place.offset) low = middle;
      else high = middle;
    }
    return low + 1;
  }

  #read(events: readonly Event[]): (Place | null)[] {
    const documents: (Place | null)[] = [];
    let at = 0;
    let last = 0;
    const value = (): Place => {
      const event = events[at++]!;
      if (event.type === EVENT_ID.SCALAR) {
        // A value that is not there stands behind what came before it.
        if (event.valueStart >= 0) last = event.valueEnd;
        return { offset: event.valueStart >= 0 ? event.valueStart : last, inside: null };
      }
      if (event.type === EVENT_ID.ALIAS) return { offset: event.anchorStart, inside: null };
      if (event.type !== EVENT_ID.MAPPING && event.type !== EVENT_ID.SEQUENCE)
        return { offset: last, inside: null };
      last = event.start;
      const inside = new Map<string, Place>();
      for (let n = 0; events[at]?.type !== EVENT_ID.POP; n++) {
        if (event.type === EVENT_ID.SEQUENCE) inside.set(String(n), value());
        else {
          const key = events[at]!;
          value();
          inside.set(
            key.type === EVENT_ID.SCALAR ? this.#text.slice(key.valueStart, key.valueEnd) : "",
            value(),
          );
        }
      }
      at++;
      return { offset: event.start, inside };
    };
    while (at < events.length) {
      if (events[at++]?.type !== EVENT_ID.DOCUMENT) continue;
      const first = events[at];
      documents.push(first === undefined || first.type === EVENT_ID.POP ? null : value());
    }
    return documents;
  }
}
