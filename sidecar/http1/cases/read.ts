/** Reads the case files beside it; the format is in README.md. */
import { readdirSync, readFileSync } from "node:fs";

export interface Case {
  readonly id: string;
  readonly file: string;
  /** As written: for test names. */
  readonly text: string;
  readonly statuses: readonly number[];
  readonly bytes: Buffer;
  /** What goes upstream per message taken; null = not said. */
  readonly upstream: readonly string[] | null;
}

const PREFIX: Readonly<Record<string, string>> = {
  "H:": "GET / HTTP/1.1\r\nHost: a\r\n",
  "P:": "POST / HTTP/1.1\r\nHost: a\r\n",
  "C:": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
};
const ESCAPES: Readonly<Record<string, string>> = { r: "\r", n: "\n", t: "\t", "\\": "\\" };

export function readCases(): Case[] {
  return readdirSync(import.meta.dirname)
    .filter((file) => file.endsWith(".md") && file !== "README.md")
    .flatMap((file) => readFile(file));
}

function readFile(file: string): Case[] {
  const text = readFileSync(new URL(file, import.meta.url), "utf8");
  const found: Case[] = [];
  for (const block of text.matchAll(/^```cases\n(.*?)^```$/gms)) {
    for (const line of block[1]!.split("\n")) {
      const match = /^(\d{3})((?: \d{3})+) \| (.*)$/.exec(line);
      if (match !== null) {
        const [, id, statuses, raw] = match as unknown as [string, string, string, string];
        const prefix = PREFIX[raw.slice(0, 2)];
        const bytes = Buffer.from(
          (prefix ?? "") + unescaped(prefix === undefined ? raw : raw.slice(2)),
          "latin1",
        );
        const short = raw.length > 90 ? `${raw.slice(0, 90)}...` : raw;
        found.push({
          id,
          file,
          text: short,
          statuses: statuses.trim().split(" ").map(Number),
          bytes,
          upstream: null,
        });
      } else if (line.startsWith("> ")) {
        const last = found.pop()!;
        found.push({ ...last, upstream: [...(last.upstream ?? []), unescaped(line.slice(2))] });
      } else if (line !== "") throw new Error(`${file}: no case: ${line}`);
    }
  }
  return found;
}

function unescaped(raw: string): string {
  let text = raw;
  for (const repeat = /\{([^{}]*)\*(\d+)\}/; repeat.test(text); )
    text = text.replace(repeat, (_, part: string, times: string) => part.repeat(Number(times)));
  return text.replace(/\\(?:x([0-9a-f]{2})|([rnt\\]))/g, (_, hex: string | undefined, name: string) =>
    hex === undefined ? ESCAPES[name]! : String.fromCharCode(Number.parseInt(hex, 16)),
  );
}
