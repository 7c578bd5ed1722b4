import { isMap, type Path, showPath } from "./schema.ts";

/** What is kept of an object that was applied: itself, and where its author wrote it. */
export interface AppliedCopy {
  readonly file: string;
  readonly line: number;
  /** ISO text. */
  readonly appliedAt: string;
  /** Path, as in "spec.http[0]" -> line, where it is not that of what it stands in. */
  readonly lines: Readonly<Record<string, number>>;
  readonly object: Readonly<Record<string, unknown>>;
}

const MARK = "weft.dev/applied";

/** One line of JSON. `lineOf`: the line in the author's file of what stands at the path. */
export function writeCopy(
  object: Readonly<Record<string, unknown>>,
  file: string,
  appliedAt: string,
  lineOf: (path: Path) => number,
): string {
  const lines: Record<string, number> = {};
  const walk = (value: unknown, path: Path, above: number): void => {
    const line = lineOf(path);
    if (line !== above) lines[showPath(path)] = line;
    if (Array.isArray(value)) value.forEach((item, i) => void walk(item, [...path, i], line));
    else if (isMap(value)) for (const [key, item] of Object.entries(value)) walk(item, [...path, key], line);
  };
  const line = lineOf([]);
  walk(object, [], line);
  return `${JSON.stringify({ [MARK]: { file, line, appliedAt, lines }, object })}\n`;
}

/** Null: it is none; before there were copies, the object itself was kept. */
export function readCopy(text: string): AppliedCopy | null {
  try {
    const value = JSON.parse(text) as Record<string, unknown>;
    const head = value[MARK];
    if (!isMap(head) || !isMap(value["object"])) return null;
    return { ...(head as unknown as Omit<AppliedCopy, "object">), object: value["object"] };
  } catch {
    return null;
  }
}

/** The line in the author's file; that of the nearest thing around it where the path is not known. */
export function lineOfCopy({ line, lines }: AppliedCopy, path: Path): number {
  for (let length = path.length; length > 0; length--) {
    const found = lines[showPath(path.slice(0, length))];
    if (found !== undefined) return found;
  }
  return line;
}
