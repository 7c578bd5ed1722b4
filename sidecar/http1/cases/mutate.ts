/** Valid messages, and what may happen to them: the mutators of the fuzz tests. */
import fc from "fast-check";

export const REQUESTS: readonly string[] = [
  "GET /a?b=c HTTP/1.1\r\nHost: a\r\nX-Y: z\r\n\r\n",
  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
  "POST /x HTTP/1.1\r\nHost: a:80\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nT: u\r\n\r\n",
  "GET http://b/x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-y\r\nX-Y: 1\r\nTE: trailers\r\n\r\n",
  "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
  "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n",
  "OPTIONS * HTTP/1.1\r\nhost: a\r\nCookie: \xe9=1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
];
const LINES = [
  "Content-Length: 0",
  "Content-Length: 5",
  "Content-Length: 05",
  "Transfer-Encoding: chunked",
  "Transfer-Encoding: identity",
  "Transfer-Encoding:\tCHUNKED ",
  "Connection: close",
  "Connection: content-length",
  "Host: b",
  "Expect: x",
  "",
];
const TOKENS = ["\r\n", "\r", "\n", "\0", ":", "\t", " ", "0", ";", ",", "\xff", '"', "#", "\r\n\r\n"];

/** A place is a fraction of the length, so that it means something after other mutations. */
export const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const mutation = fc.oneof(
  fc.record({ kind: fc.constantFrom("delete", "duplicate", "swap" as const), at: place, to: place }),
  fc.record({
    kind: fc.constantFrom("insert", "replace" as const),
    at: place,
    text: fc.oneof(
      fc.constantFrom(...TOKENS),
      fc.integer({ min: 0, max: 255 }).map((c) => String.fromCharCode(c)),
    ),
  }),
  fc.record({ kind: fc.constant("line" as const), at: place, text: fc.constantFrom(...LINES) }),
  fc.record({ kind: fc.constant("append" as const), text: fc.constantFrom(...REQUESTS) }),
);
type Mutation = typeof mutation extends fc.Arbitrary<infer T> ? T : never;

function mutate(text: string, m: Mutation): string {
  if (m.kind === "append") return text + m.text;
  const at = Math.floor(m.at * text.length);
  switch (m.kind) {
    case "delete":
      return text.slice(0, at) + text.slice(at + 1);
    case "insert":
      return text.slice(0, at) + m.text + text.slice(at);
    case "replace":
      return text.slice(0, at) + m.text + text.slice(at + 1);
    case "duplicate": {
      const part = text.slice(at, at + 1 + Math.floor(m.to * 20));
      return text.slice(0, at) + part + text.slice(at);
    }
    case "swap": {
      const lines = text.split("\r\n");
      const [i, j] = [Math.floor(m.at * lines.length), Math.floor(m.to * lines.length)];
      [lines[i], lines[j]] = [lines[j]!, lines[i]!];
      return lines.join("\r\n");
    }
    case "line": {
      const next = text.indexOf("\r\n", at);
      const from = next === -1 ? text.length : next + 2;
      return `${text.slice(0, from)}${m.text}\r\n${text.slice(from)}`;
    }
  }
}

export const mutated = (seeds: readonly string[]) =>
  fc
    .tuple(fc.constantFrom(...seeds), fc.array(mutation, { minLength: 0, maxLength: 4 }))
    .map(([seed, mutations]) => Buffer.from(mutations.reduce(mutate, seed), "latin1"));
