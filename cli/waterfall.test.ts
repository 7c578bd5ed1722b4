import { expect, test } from "vitest";
import { arrange, type Span, waterfall } from "./waterfall.ts";

const span = (spanId: string, parentSpanId: string, startMs: number, endMs: number, more = {}): Span => ({
  traceId: "t",
  spanId,
  parentSpanId,
  name: `${spanId}.default.svc.cluster.local:9080/*`,
  kind: "server",
  service: `${spanId}.default`,
  startMs,
  endMs,
  attributes: {},
  error: false,
  ...more,
});

test("children stand below their parent by start time; an orphan stands at the left, a loop ends", () => {
  const spans = [
    span("c", "a", 30, 40),
    span("b", "a", 10, 20),
    span("a", "", 0, 100),
    span("o", "gone", 50, 60),
  ];
  expect(arrange(spans).map(({ span: s, depth }) => `${depth}${s.spanId}`)).toEqual(["0a", "1b", "1c", "0o"]);
  expect(arrange([span("x", "y", 0, 1), span("y", "x", 0, 1)])).toEqual([]);
});

test("bars lie where the span lies, and no line is longer than the terminal", () => {
  const proxy = {
    attributes: { component: "proxy", "http.status_code": "503" },
    kind: "client",
    error: true,
  };
  const lines = waterfall([span("a", "", 0, 100), span("b", "a", 50, 100, proxy)], 80, (text) => `!${text}`);
  expect(lines[0]).toMatch(/^a +app +█+ +100 ms$/);
  expect(lines[1]).toMatch(/^! {2}b -> b +proxy out +█+ +50\.0 ms 503$/);
  expect(lines[1]!.indexOf("█")).toBeGreaterThan(lines[0]!.indexOf("█") + 10);
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(81);
});
