/** Access log lines: format strings compiled once, lines gathered in memory, written in one call per turn. */
export type FieldReader = (command: string, argument: string) => string | null;
export type LineWriter = (read: FieldReader) => string;

/** istiod's default text format is Envoy's; an absent value prints "-". */
export function compileFormat(format: string): LineWriter {
  const parts: (string | { command: string; argument: string; limit: number })[] = [];
  const pattern = /%([A-Z][A-Z0-9_]*)(?:\(([^)]*)\))?(?::(\d+))?%|%%/g;
  let at = 0;
  for (const match of format.matchAll(pattern)) {
    if (match.index > at) parts.push(format.slice(at, match.index));
    if (match[0] === "%%") parts.push("%");
    else parts.push({ command: match[1]!, argument: match[2] ?? "", limit: Number(match[3] ?? 0) });
    at = match.index + match[0].length;
  }
  if (at < format.length) parts.push(format.slice(at));
  return (read) => {
    let line = "";
    for (const part of parts) {
      if (typeof part === "string") {
        line += part;
        continue;
      }
      let value = read(part.command, part.argument);
      if (value === null || value === "") value = "-";
      if (part.limit > 0 && value.length > part.limit) value = value.slice(0, part.limit);
      line += escapeControl(value);
    }
    return line;
  };
}

// A header value must not start a second log line or move a terminal's cursor, nor close the quotes it stands in.
export function escapeControl(value: string): string {
  if (!/[\x00-\x1f\x7f-\x9f"\\]/.test(value)) return value;
  return value.replace(/[\x00-\x1f\x7f-\x9f"\\]/g, (c) =>
    c === '"' || c === "\\" ? `\\${c}` : `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}

/** The sink calls back when it can take more, as stream.write does. */
export type Sink = (text: string, done: () => void) => void;

export class AccessLogBuffer {
  /** Lines lost because the sink was slower than the traffic. */
  dropped = 0;
  readonly #sink: Sink;
  readonly #limit: number;
  #lines: string[] = [];
  #chars = 0;
  #writing = false;
  #scheduled = false;

  constructor(sink: Sink, limitChars = 1 << 20) {
    this.#sink = sink;
    this.#limit = limitChars;
  }
  push(line: string): void {
    if (this.#chars + line.length + 1 > this.#limit) {
      this.dropped++;
      return;
    }
    this.#lines.push(line.endsWith("\n") ? line : `${line}\n`);
    this.#chars += line.length + 1;
    if (this.#scheduled || this.#writing) return;
    this.#scheduled = true;
    setImmediate(() => this.flush());
  }
  flush(): void {
    this.#scheduled = false;
    if (this.#writing || this.#lines.length === 0) return;
    const text = this.#lines.join("");
    this.#lines = [];
    this.#chars = 0;
    this.#writing = true;
    this.#sink(text, () => {
      this.#writing = false;
      this.flush();
    });
  }
}
