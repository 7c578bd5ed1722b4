import { expect, test, vi } from "vitest";
import { readCases } from "./cases/read.ts";
import { runCodec } from "./cases/run.ts";

vi.useFakeTimers({ toFake: ["Date"] }); // an answer's Date must not depend on when a run of it began

const cases = readCases();
/** Above this length a case is split at some bytes only. */
const EVERY_SPLIT_BYTES = 2000;

test.each(cases.map((c) => [`${c.id} ${c.statuses.join(" ")} | ${c.text}`, c] as const))("%s", (_, c) => {
  const { bytes } = c;
  const whole = runCodec(bytes, [bytes.length]);
  expect(whole.statuses).toEqual(c.statuses);
  if (c.upstream !== null) expect(whole.out).toEqual(c.upstream);
  const step = bytes.length > EVERY_SPLIT_BYTES ? Math.ceil(bytes.length / 61) : 1;
  for (let at = 1; at < bytes.length; at += step)
    expect(runCodec(bytes, [at, bytes.length]), `split at ${at}`).toEqual(whole);
  const ends = Array.from({ length: Math.ceil(bytes.length / step) }, (_, i) =>
    Math.min(bytes.length, (i + 1) * step),
  );
  expect(runCodec(bytes, ends), `every ${step} bytes`).toEqual(whole);
});

test("the cases cover the rows that bytes alone decide", () => {
  expect(new Set(cases.map((c) => c.id)).size).toBeGreaterThanOrEqual(95);
  expect(cases.length).toBeGreaterThanOrEqual(310);
});
