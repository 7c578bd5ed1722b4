import { styleText } from "node:util";
import { stringify } from "yaml";
import { harmless, visible } from "./text.ts";

export type Format = "table" | "json" | "yaml";

export interface Output {
  line(text: string): void;
  /** One document for machines, or rows for people. */
  result(value: unknown, rows: () => string[][]): void;
  /** One document for machines, or free text for people. */
  document(value: unknown, text: () => string): void;
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

/** kubectl's table: upper-case heads, three spaces, no borders, `<none>` for nothing. */
export function table(cells: string[][]): string {
  const rows = cells.map((row) => row.map(visible));
  const widths: number[] = [];
  for (const row of rows)
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, (cell || "<none>").length);
  return rows
    .map((row) =>
      row
        .map((cell, i) => (cell || "<none>").padEnd(widths[i]!))
        .join("   ")
        .trimEnd(),
    )
    .join("\n");
}

export function createOutput(
  format: Format,
  write: (text: string) => void,
  stream: NodeJS.WriteStream,
  writeErr: (text: string) => void = () => {},
  rewrites = false,
): Output {
  let shown = "";
  const style = (kind: "bold" | "red" | "green" | "dim", text: string): string =>
    styleText(kind, text, { stream, validateStream: true }); // honours NO_COLOR, FORCE_COLOR and isTTY
  const document = (value: unknown, text: () => string): void => {
    if (format === "json") write(`${JSON.stringify(value, null, 2)}\n`);
    else if (format === "yaml") write(stringify(value));
    else write(`${harmless(text())}\n`);
  };
  return {
    line: (text) => write(`${text}\n`),
    result: (value, rows) => document(value, () => table(rows())),
    document,
    strong: (text) => style("bold", text),
    bad: (text) => style("red", text),
    good: (text) => style("green", text),
    dim: (text) => style("dim", text),
    progress(text) {
      if (text === shown) return;
      const line = rewrites ? text.slice(0, (stream.columns ?? 100) - 1) : text;
      if (rewrites) writeErr(`\r\x1b[2K${line}`);
      else if (text !== "") writeErr(`${line}\n`);
      shown = text;
    },
    warn: (text) => writeErr(`${shown !== "" && rewrites ? "\n" : ""}${harmless(text)}\n`),
    columns: stream.columns ?? 100,
  };
}
