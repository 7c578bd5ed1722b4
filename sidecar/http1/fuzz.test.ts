/**
 * 20,000 mutated messages: the verdict and the bytes out do not depend on how the bytes arrive; what leaves parses in
 * a strict parser as what was meant; and what that parser refuses is not taken. WEFT_FUZZ_SEED and WEFT_FUZZ_RUNS
 * choose other messages; a failure prints its seed.
 */
import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { KNOWN_METHODS, parseStrictly } from "./cases/llhttp.ts";
import { mutated, place, REQUESTS } from "./cases/mutate.ts";
import { type Run, runCodec, runResponse } from "./cases/run.ts";

vi.useFakeTimers({ toFake: ["Date"] }); // an answer's Date must not depend on when a run of it began

/** Seconds alone, but the machine may be busy. */
const TIMEOUT_MS = 180_000;
const RUNS = Number(process.env["WEFT_FUZZ_RUNS"] ?? 20_000);
const SEED = Number(process.env["WEFT_FUZZ_SEED"] ?? 20_261_125);

const message = mutated(REQUESTS);
const response = mutated([
  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
  "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n5;a\r\nhello\r\n1\r\n!\r\n0\r\nT: u\r\n\r\n",
  "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
  "HTTP/1.0 200 OK\r\nConnection: close, x\r\nX: \xe9\r\n\r\nhello",
  "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: a\r\n\r\n",
  "HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n",
]);

/** Where the other parser may differ: it stops at an upgrade, and minds framing fields in trailers, which we drop. */
const DIFFERS = /upgrade|\r\n0+(;[^\r]*)?\r\n([^\r]+\r\n)*(content-length|transfer-encoding)/i;

/** The message as it would stand on the wire upstream. */
function wireOf(out: string): string {
  const end = out.indexOf("\r\n\r\n") + 4;
  const head = out.slice(0, end);
  const body = out.slice(end);
  if (!/\r\ntransfer-encoding: chunked\r\n/.test(head)) return out;
  return `${head}${body === "" ? "" : `${body.length.toString(16)}\r\n${body}\r\n`}0\r\n\r\n`;
}

/** Whole, at three places, and byte by byte. */
function splitInvariant(
  bytes: Buffer,
  places: readonly number[],
  run: (cuts: readonly number[]) => Run,
): Run {
  const whole = run([bytes.length]);
  const same = (cuts: readonly number[]): void => {
    const other = run(cuts);
    // toEqual is slow, and nearly always agrees.
    if (JSON.stringify(other) !== JSON.stringify(whole)) expect(other).toEqual(whole);
  };
  for (const p of places) same([Math.floor(p * bytes.length), bytes.length]);
  same(Array.from(bytes, (_, i) => i + 1));
  return whole;
}

/** What was written reads in the strict parser as what was meant. */
function expectReread(out: string, type: "request" | "response", start: readonly [string, string]): void {
  const parsed = parseStrictly(Buffer.from(wireOf(out), "latin1"), type);
  const [head, ...body] = out.split("\r\n\r\n");
  const fields = head!
    .split("\r\n")
    .slice(1)
    .flatMap((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]);
  const meant = { messages: [{ start, fields, body: body.join("\r\n\r\n") }], error: "" };
  if (JSON.stringify(parsed) !== JSON.stringify(meant)) expect(parsed, JSON.stringify(out)).toEqual(meant);
}

test("split invariance, and a strict second opinion on what goes in and out", { timeout: TIMEOUT_MS }, () => {
  let taken = 0;
  let refused = 0;
  fc.assert(
    fc.property(message, fc.array(place, { minLength: 3, maxLength: 3 }), (bytes, places) => {
      const whole = splitInvariant(bytes, places, (cuts) => runCodec(bytes, cuts));
      for (const out of whole.out) {
        taken++;
        const [method, target] = out.split(" ", 2) as [string, string];
        if (!KNOWN_METHODS.has(method) || method === "CONNECT") continue;
        expectReread(out, "request", [method, target]);
      }
      if (whole.statuses.some((status) => status >= 400)) refused++;
      if (DIFFERS.test(bytes.toString("latin1"))) return;
      const methods = whole.out.map((out) => out.split(" ", 1)[0]!);
      if (methods.some((method) => !KNOWN_METHODS.has(method) || method === "CONNECT")) return;
      const input = parseStrictly(bytes, "request");
      const bodies = whole.out.map((out) => out.slice(out.indexOf("\r\n\r\n") + 4));
      const theirs = input.messages.map((m) => m.body).slice(0, bodies.length);
      if (JSON.stringify(theirs) !== JSON.stringify(bodies))
        expect(theirs, `${input.error}: ${JSON.stringify(bytes.toString("latin1"))}`).toEqual(bodies);
    }),
    { numRuns: RUNS, seed: SEED },
  );
  // The generator is worth nothing if it only makes garbage, or none.
  expect(taken).toBeGreaterThan(RUNS / 5);
  expect(refused).toBeGreaterThan(RUNS / 5);
});

test("answers of an upstream: split invariance, and the second opinion on what goes down", {
  timeout: TIMEOUT_MS,
}, () => {
  let taken = 0;
  let refused = 0;
  fc.assert(
    fc.property(response, fc.array(place, { minLength: 3, maxLength: 3 }), (bytes, places) => {
      const whole = splitInvariant(bytes, places, (cuts) => runResponse(bytes, cuts, "GET"));
      if (whole.statuses.at(-1) === 502) refused++;
      for (const out of whole.out) {
        taken++;
        expectReread(out, "response", [out.slice(9, 12), out.slice(13, out.indexOf("\r\n"))]);
        if (DIFFERS.test(bytes.toString("latin1"))) continue;
        const theirs = parseStrictly(bytes, "response");
        if (theirs.error === "HPE_CLOSED_CONNECTION") continue; // it takes "close" of a 103 for the last word
        const final = theirs.messages.find(({ start: [status] }) => Number(status) >= 200);
        expect(final?.body, `${theirs.error}: ${JSON.stringify(bytes.toString("latin1"))}`).toBe(
          out.slice(out.indexOf("\r\n\r\n") + 4),
        );
      }
    }),
    { numRuns: RUNS / 4, seed: SEED },
  );
  expect(taken).toBeGreaterThan(RUNS / 20);
  expect(refused).toBeGreaterThan(RUNS / 20);
});
