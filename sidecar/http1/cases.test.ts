import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { BodyReader } from "./body.ts";
import { failureOf, Verdict } from "./errors.ts";
import { RequestHead } from "./request-head.ts";

const text = readFileSync(new URL("./cases/requests.md", import.meta.url), "utf8");
const cases = [...text.matchAll(/^(\d{3}) \| (.*)$/gm)].map((m) => [m[1]!, m[2]!] as const);
const PREFIX: Readonly<Record<string, string>> = {
  "H:": "GET / HTTP/1.1\r\nHost: a\r\n",
  "C:": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
};

function bytesOf(raw: string): Buffer {
  const prefix = PREFIX[raw.slice(0, 2)];
  const body = (prefix === undefined ? raw : raw.slice(2))
    .replace(/\\x(..)/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)))
    .replaceAll("\\r", "\r")
    .replaceAll("\\n", "\n")
    .replaceAll("\\t", "\t");
  return Buffer.from((prefix ?? "") + body, "latin1");
}

/** The status of a message given in pieces that end at `cuts`; 0 = still waiting for more. */
function statusOf(message: Buffer, cuts: readonly number[]): number {
  const head = new RequestHead();
  const body = new BodyReader();
  let at = -1;
  for (const cut of cuts) {
    const seen = Buffer.from(message.subarray(0, cut));
    if (at === -1) {
      const verdict = head.parse(seen);
      if (verdict === Verdict.NeedMore) continue;
      if (verdict !== Verdict.Ok) return failureOf(verdict).status;
      at = head.end;
      body.begin(head.length);
    }
    while (at < seen.length && !body.done && body.verdict === Verdict.Ok) at = body.next(seen, at);
    if (body.verdict !== Verdict.Ok) return failureOf(body.verdict).status;
    if (body.done) return 200;
  }
  return 0;
}

test.each(cases)("%s | %s", (status, raw) => {
  const message = bytesOf(raw);
  const want = Number(status);
  expect(statusOf(message, [message.length])).toBe(want);
  for (let i = 1; i < message.length; i++) expect(statusOf(message, [i, message.length])).toBe(want);
  expect(
    statusOf(
      message,
      Array.from(message, (_, i) => i + 1),
    ),
  ).toBe(want);
});
