/** Node's own parser in strict mode: the second opinion on what the codec takes and on what it writes. */
import { createRequire } from "node:module";

export interface Message {
  /** Request: method and target. Response: status and reason. */
  readonly start: readonly [string, string];
  /** name, value, name, value. */
  readonly fields: readonly string[];
  readonly body: string;
}

interface RawParser {
  initialize(type: number, resource: object, maxHeaderBytes: number, lenientFlags: number): void;
  execute(bytes: Buffer): number | Error;
  finish(): Error | undefined;
  [callback: number]: (...values: never[]) => unknown;
}
const { HTTPParser, methods } = createRequire(import.meta.url)("node:_http_common") as {
  HTTPParser: { new (): RawParser } & Record<string, number>;
  methods: readonly string[];
};

export const KNOWN_METHODS: ReadonlySet<string> = new Set(methods);

/** The messages of one connection up to the first error: its code, "incomplete" for a message without an end, or "". */
export function parseStrictly(
  bytes: Buffer,
  type: "request" | "response",
): { readonly messages: readonly Message[]; readonly error: string } {
  const messages: Message[] = [];
  const parser = new HTTPParser();
  parser.initialize(HTTPParser[type === "request" ? "REQUEST" : "RESPONSE"]!, {}, 1 << 20, 0);
  let fields: string[] = [];
  let target = "";
  let start: [string, string] = ["", ""];
  let body = "";
  let open = false;
  parser[HTTPParser["kOnHeaders"]!] = (more: string[], url: string) => {
    fields.push(...more);
    target += url;
  };
  parser[HTTPParser["kOnHeadersComplete"]!] = (...values: unknown[]) => {
    const [, , more, method, url, status, reason] = values as [
      number,
      number,
      string[] | undefined,
      number,
      string | undefined,
      number,
      string,
    ];
    fields.push(...(more ?? []));
    start = type === "request" ? [methods[method]!, target + (url ?? "")] : [String(status), reason];
    body = "";
    open = true;
    return 0;
  };
  parser[HTTPParser["kOnBody"]!] = (piece: Buffer) => {
    body += piece.toString("latin1");
  };
  parser[HTTPParser["kOnMessageComplete"]!] = () => {
    messages.push({ start, fields, body });
    fields = [];
    target = "";
    open = false;
  };
  const result = parser.execute(bytes);
  if (result instanceof Error) return { messages, error: (result as Error & { code: string }).code };
  return { messages, error: parser.finish() instanceof Error || open ? "incomplete" : "" };
}
