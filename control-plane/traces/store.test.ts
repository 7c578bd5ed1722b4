import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Span } from "./span.ts";
import { TraceStore } from "./store.ts";

const HOUR = 3_600_000;
let dir: string;
let file: string;
let now = 1_700_000_000_000;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "weft-traces-"));
  file = join(dir, "traces.db");
});
afterEach(() => rmSync(dir, { recursive: true }));

function span(trace: number, service = "web.default"): Span {
  return {
    traceId: trace.toString(16).padStart(32, "0"),
    spanId: "1".padStart(16, "0"),
    parentSpanId: "",
    name: "GET /",
    kind: "server",
    service,
    startMs: now,
    endMs: now + 1,
    attributes: { "http.url": `http://web/${"x".repeat(400)}` },
    error: false,
  };
}

/** Of the database and of what is written ahead of it. */
const onDisk = (): number =>
  ["", "-wal"].reduce(
    (sum, end) => sum + (statSync(`${file}${end}`, { throwIfNoEntry: false })?.size ?? 0),
    0,
  );

test("the file stays within its bound while spans keep coming, and the latest traces are there", () => {
  const store = new TraceStore(file, { bytes: 1024 * 1024 }, () => now);
  let most = 0;
  for (let n = 1; n <= 10_000; n++) {
    now++;
    store.add([span(n)]);
    if (n % 100 === 0) most = Math.max(most, onDisk());
  }
  expect(most).toBeLessThan(3.2 * 1024 * 1024); // and 2 MiB of log
  expect(store.list({ limit: 1 })[0]?.traceId).toBe(span(10_000).traceId);
  expect(store.list({ limit: 10_000 }).length).toBeGreaterThan(500);
  store.close();
});

test("a file that is larger than the bound is small again after the next start", () => {
  const large = new TraceStore(file, {}, () => now);
  for (let n = 1; n <= 5_000; n++) large.add([span(n)]);
  large.close();
  expect(onDisk()).toBeGreaterThan(3 * 1024 * 1024);
  const store = new TraceStore(file, { bytes: 1024 * 1024 }, () => now);
  expect(onDisk()).toBeLessThan(1.1 * 1024 * 1024);
  expect(store.list({ limit: 1 })).toHaveLength(1);
  store.close();
});

test("what is older than a day is not shown, and goes while others come", () => {
  const store = new TraceStore(file, { ageMs: 24 * HOUR }, () => now);
  store.add([span(1, "old.default")]);
  now += 25 * HOUR;
  expect(store.list({ limit: 9 })).toEqual([]);
  store.add([span(2)]);
  expect(store.services()).toEqual(["web.default"]);
  expect(store.get(span(1).traceId)).toBeNull();
  store.close();
});

test("traces are found by the beginning of their id and by any of several services", () => {
  const store = new TraceStore(file, {}, () => now);
  store.add([span(0xab1, "web.default"), span(0xac2, "api.shop"), span(0xb03, "db.shop")]);
  expect(store.services()).toEqual(["api.shop", "db.shop", "web.default"]);
  const found = (query: object): string[] =>
    store
      .list({ limit: 9, ...query })
      .map(({ service }) => service)
      .sort();
  expect(found({ services: ["web.default", "db.shop"] })).toEqual(["db.shop", "web.default"]);
  expect(found({ services: ["web"] })).toEqual([]);
  expect(found({ idPrefix: span(0xab1).traceId.slice(0, 31) })).toEqual(["web.default"]);
  expect(found({ idPrefix: span(0xab1).traceId.slice(0, 30) })).toEqual(["api.shop", "web.default"]);
  expect(found({ untilMs: now - 1 })).toEqual([]);
  expect(found({ idPrefix: "f" })).toEqual([]);
  store.close();
});
