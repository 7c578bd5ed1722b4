import { expect, test } from "vitest";
import { type Span, SpanBuffer } from "./spans.ts";

const span = (name: string): Span => ({
  traceId: "0af7651916cd43dd8448eb211c80319c",
  spanId: "b7ad6b7169203331",
  parentSpanId: "",
  name,
  kind: "server",
  startMs: 1_700_000_000_000.5,
  endMs: 1_700_000_000_001,
  error: false,
  attributes: [["http.response.status_code", 200]],
});

test("a full ring drops the oldest, a failed batch is counted", async () => {
  const buffer = new SpanBuffer(2);
  for (const name of ["a", "b", "c"]) buffer.push(span(name));
  const bodies: string[] = [];
  await buffer.flush("reviews", async (body) => void bodies.push(body));
  expect(buffer.dropped).toBe(1);
  const sent = JSON.parse(bodies[0]!).resourceSpans[0].scopeSpans[0].spans;
  expect(sent.map((s: { name: string }) => s.name)).toEqual(["b", "c"]);
  expect(sent[0].startTimeUnixNano).toBe("1700000000000500000");
  buffer.push(span("d"));
  await buffer.flush("reviews", () => Promise.reject(new Error("down")));
  expect(buffer.dropped).toBe(2);
});
