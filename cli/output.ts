import { styleText } from "node:util";
import { stringify } from "yaml";
import { hang, harmless, visible } from "./text.ts";

export type Format = "table" | "json" | "yaml" | "wide" | "name";

export interface Output {
  line(text: string): void;
  /** One document for machines, or rows for people. */
  result(value: unknown, rows: () => string[][]): void;
  /** One document for machines, or free text for people. */
  document(value: unknown, text: () => string): void;
  /** Rows as a table that fits the terminal, less an indent; whole where there is none. */
  table(rows: string[][], indent?: number): string;
  strong(text: string): string;
  bad(text: string): string;
  good(text: string): string;
  dim(text: string): string;
  /** A state of long work, on stderr: rewritten in place on a terminal, else a line. "" ends it. */
  progress(text: string): void;
  /** Something that went wrong while the command goes on. */
  warn(text: string): void;
  /** Width of the terminal; 100 where there is none. */
  readonly columns: number;
}

/** Kubernetes reads YAML 1.1, where a bare `yes`, `on` or `1:30` is no string: such strings are quoted. */
export function yamlText(value: unknown): string {
  return stringify(value, { version: "1.1" });
}

const GAP = 3;
/** Narrower, a cell says nothing. */
const LEAST = 10;

/**
 * kubectl's table: upper-case heads, three spaces, no borders, `<none>` for nothing. Within `width` columns the widest
 * give way: prose in the last one goes on in further lines, other cells lose their end, paths their beginning.
 */
export function table(cells: string[][], width = Number.POSITIVE_INFINITY): string {
  const rows = cells.map((row) => row.map((cell) => visible(cell) || "<none>"));
  const widths: number[] = [];
  for (const row of rows)
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  const last = widths.length - 1;
  const prose = rows.slice(1).some((row) => row[last]?.includes(" "));
  giveWay(widths, width);
  const indent = widths.slice(0, last).reduce((sum, one) => sum + one + GAP, 0);
  return rows
    .map((row) =>
      row
        .map((cell, i) => {
          if (prose && i === last) return hang(cell, width, indent);
          return shortened(cell, widths[i]!).padEnd(widths[i]!);
        })
        .join(" ".repeat(GAP))
        .trimEnd(),
    )
    .join("\n");
}

/** Takes from the widest column, until all fit or none is wider than it must be. */
function giveWay(widths: number[], width: number): void {
  let over = widths.reduce((sum, one) => sum + one, GAP * (widths.length - 1)) - width;
  while (over > 0) {
    const most = Math.max(...widths);
    if (most <= LEAST) return;
    const next = Math.max(LEAST, ...widths.filter((one) => one < most));
    const widest = widths.indexOf(most);
    const less = Math.min(over, most - next + 1);
    widths[widest] = Math.max(LEAST, most - less);
    over -= most - widths[widest];
  }
}

function shortened(cell: string, width: number): string {
  if (cell.length <= width) return cell;
  if (cell.includes("/")) return `…${cell.slice(1 - width)}`;
  return `${cell.slice(0, width - 1)}…`;
}

/**
 * `stream` is asked for width and colours only; text goes to `write`. `rewrites`: progress may overwrite its own
 * line.
 */
export function createOutput(
  format: Format,
  write: (text: string) => void,
  stream: NodeJS.WriteStream,
  writeErr: (text: string) => void = () => {},
  rewrites = false,
): Output {
  let shown = "";
  // 0 is a terminal that nobody gave a size (under expect, in CI): as none.
  const columns = stream.columns || 100;
  // What is piped goes to a program, which wants every cell whole.
  const fits = stream.isTTY ? columns : undefined;
  const style = (kind: "bold" | "red" | "green" | "dim", text: string): string =>
    styleText(kind, text, { stream, validateStream: true }); // honours NO_COLOR, FORCE_COLOR and isTTY
  const document = (value: unknown, text: () => string): void => {
    if (format === "json") write(`${JSON.stringify(value, null, 2)}\n`);
    else if (format === "yaml") write(yamlText(value));
    else write(`${harmless(text())}\n`);
  };
  return {
    line: (text) => write(`${text}\n`),
    result: (value, rows) => document(value, () => table(rows(), fits)),
    table: (rows, indent = 0) => table(rows, fits === undefined ? undefined : fits - indent),
    document,
    strong: (text) => style("bold", text),
    bad: (text) => style("red", text),
    good: (text) => style("green", text),
    dim: (text) => style("dim", text),
    progress(text) {
      if (text === shown) return;
      const line = rewrites ? text.slice(0, columns - 1) : text;
      if (rewrites) writeErr(`\r\x1b[2K${line}`);
      else if (text !== "") writeErr(`${line}\n`);
      shown = text;
    },
    warn: (text) => writeErr(`${shown !== "" && rewrites ? "\n" : ""}${harmless(text)}\n`),
    columns,
  };
}
