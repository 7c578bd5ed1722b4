import { expect, test } from "vitest";
import type { ConnectionFacts } from "../snapshot.ts";
import { RequestRecord } from "./record.ts";
import { SpanBuffer } from "./spans.ts";

const span = (name: string): RequestRecord =>
  Object.assign(new RequestRecord(null, {} as ConnectionFacts, 0), { spanName: name });

test("a full ring drops the oldest and counts them; it wakes the sender when empty and when half full", () => {
  let woken = 0;
  const buffer = new SpanBuffer(() => woken++, 4);
  buffer.push(span("a"));
  expect(woken).toBe(1);
  buffer.push(span("b"));
  expect(woken).toBe(2);
  for (const name of ["c", "d", "e", "f"]) buffer.push(span(name));
  expect(buffer.dropped).toBe(2);
  expect(buffer.take(3).map((s) => s.spanName)).toEqual(["c", "d", "e"]);
  expect(buffer.take().map((s) => s.spanName)).toEqual(["f"]);
  expect(buffer.size).toBe(0);
});
