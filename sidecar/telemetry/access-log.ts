/** Access log lines: formats compiled once, lines gathered in memory, written in one call per turn. */
import type { HeadView } from "../snapshot.ts";
import { compileField } from "./log-fields.ts";
import type { RecordField, RequestRecord } from "./record.ts";

export type LineWriter = (record: RequestRecord, head: HeadView | null) => string;

/** Envoy's format for a file access log that names none. */
export const DEFAULT_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ' +
  "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% " +
  '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n';

interface Command {
  readonly field: RecordField;
  readonly limit: number;
}

/** `responseHeaders` collects the response headers that the format names. */
export function compileText(format: string, responseHeaders: string[]): LineWriter {
  const parts = parse(format, responseHeaders);
  return (record, head) => {
    let line = "";
    for (const part of parts)
      line += typeof part === "string" ? part : escapeControl(limited(part, record, head) ?? "-");
    return line;
  };
}

/** A JSON object whose texts are formats; an absent value is null, as Envoy writes it. */
export function compileJson(format: unknown, responseHeaders: string[]): LineWriter {
  const make = compileValue(format, responseHeaders);
  return (record, head) => JSON.stringify(make(record, head));
}

function compileValue(
  value: unknown,
  names: string[],
): (record: RequestRecord, head: HeadView | null) => unknown {
  if (typeof value === "string") {
    const parts = parse(value, names);
    const [only] = parts;
    if (parts.length === 1 && only !== undefined && typeof only !== "string") {
      const numeric = NUMERIC.test(value);
      return (record, head) => {
        const text = limited(only, record, head);
        return numeric && text !== null ? Number(text) : text;
      };
    }
    return (record, head) =>
      parts.map((part) => (typeof part === "string" ? part : (limited(part, record, head) ?? "-"))).join("");
  }
  if (Array.isArray(value)) {
    const items = value.map((item) => compileValue(item, names));
    return (record, head) => items.map((item) => item(record, head));
  }
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).map(([key, v]) => [key, compileValue(v, names)] as const);
    return (record, head) => Object.fromEntries(entries.map(([key, v]) => [key, v(record, head)]));
  }
  return () => value;
}

const NUMERIC =
  /^%(RESPONSE_CODE|BYTES_RECEIVED|BYTES_SENT|DURATION|RESPONSE_DURATION|DOWNSTREAM_LOCAL_PORT)%$/;

function parse(format: string, responseHeaders: string[]): (string | Command)[] {
  const parts: (string | Command)[] = [];
  const pattern = /%([A-Z][A-Z0-9_]*)(?:\(([^)]*)\))?(?::(\d+))?%|%%/g;
  let at = 0;
  for (const match of format.matchAll(pattern)) {
    if (match.index > at) parts.push(format.slice(at, match.index));
    if (match[0] === "%%") parts.push("%");
    else
      parts.push({
        field: compileField(match[1]!, match[2] ?? "", responseHeaders),
        limit: Number(match[3] ?? 0),
      });
    at = match.index + match[0].length;
  }
  if (at < format.length) parts.push(format.slice(at));
  return parts;
}

function limited(part: Command, record: RequestRecord, head: HeadView | null): string | null {
  const value = part.field(record, head);
  if (value === null || value === "") return null;
  return part.limit > 0 && value.length > part.limit ? value.slice(0, part.limit) : value;
}

// A header value must not start a second log line or move a terminal's cursor, nor close the quotes it stands in.
function escapeControl(value: string): string {
  if (!/[\x00-\x1f\x7f-\x9f"\\]/.test(value)) return value;
  return value.replace(/[\x00-\x1f\x7f-\x9f"\\]/g, (c) =>
    c === '"' || c === "\\" ? `\\${c}` : `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}

/** The sink calls back when it can take more. */
export type Sink = (text: string, done: (lost: boolean) => void) => void;

export class AccessLogBuffer {
  /** Lines lost because the sink was slower than the traffic, or took none. */
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
    setImmediate(flush, this);
  }
  flush(): void {
    this.#scheduled = false;
    if (this.#writing || this.#lines.length === 0) return;
    const text = this.#lines.join("");
    const count = this.#lines.length;
    this.#lines = [];
    this.#chars = 0;
    this.#writing = true;
    this.#sink(text, (lost) => {
      if (lost) this.dropped += count;
      this.#writing = false;
      this.flush();
    });
  }
}

function flush(buffer: AccessLogBuffer): void {
  buffer.flush();
}
