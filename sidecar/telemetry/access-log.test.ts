import { execFileSync } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, readSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { AccessLog, ConnectionFacts, HeadView } from "../snapshot.ts";
import { AccessLogBuffer, compileJson, compileText, DEFAULT_FORMAT } from "./access-log.ts";
import { LogSinks } from "./log-sinks.ts";
import { RequestRecord } from "./record.ts";

const FACTS: ConnectionFacts = {
  destinationAddress: "10.0.0.1",
  destinationPort: 9080,
  sourceAddress: "10.0.0.2",
  sourcePort: 40000,
  transportProtocol: "tls",
  applicationProtocols: [],
  serverName: "outbound_.9080_._.reviews",
  peerIdentities: ["spiffe://cluster.local/ns/default/sa/p"],
};

function record(fields: Partial<RequestRecord> = {}): RequestRecord {
  const made = new RequestRecord(null, FACTS, Date.UTC(2026, 0, 2, 3, 4, 5, 678));
  return Object.assign(made, { method: "GET", path: "/a?b", protocol: "HTTP/1.1", status: 200, ...fields });
}
const head = (fields: Record<string, string>): HeadView => ({
  method: "GET",
  path: "/",
  authority: "",
  get: (name) => fields[name] ?? null,
  getAll: () => [],
  has: (name) => name in fields,
});

test("Envoy's default format; what is absent prints a dash", () => {
  const line = compileText(DEFAULT_FORMAT, []);
  const values = { requestId: "id-1", authority: "reviews:9080", upstreamMs: 2.6, durationMs: 3.2 };
  expect(line(record(values), head({ "user-agent": "curl" }))).toBe(
    '[2026-01-02T03:04:05.678Z] "GET /a?b HTTP/1.1" 200 - 0 0 3 3 "-" "curl" "id-1" "reviews:9080" "-"\n',
  );
});

test("alternatives, limits, percent signs, response headers, connection fields", () => {
  const names: string[] = [];
  const line = compileText(
    "%REQ(X-A?X-B):3% 100%% %RESP(X-C)% %REQUESTED_SERVER_NAME% %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_PEER_URI_SAN% %WHAT%",
    names,
  );
  expect(names).toEqual(["x-c"]);
  expect(line(record({ responseValues: ["c"] }), head({ "x-b": "abcdef" }))).toBe(
    "abc 100% c outbound_.9080_._.reviews 10.0.0.2:40000 spiffe://cluster.local/ns/default/sa/p -",
  );
});

test("JSON: single numbers stay numbers, absent values are null, nested objects stay", () => {
  const line = compileJson(
    { code: "%RESPONSE_CODE%", route: "%ROUTE_NAME%", deep: { text: "%PROTOCOL% %ROUTE_NAME%", n: 1 } },
    [],
  );
  expect(JSON.parse(line(record(), null))).toEqual({
    code: 200,
    route: null,
    deep: { text: "HTTP/1.1 -", n: 1 },
  });
});

test("a value cannot start a line, leave its quotes or send escape codes", () => {
  const line = compileText('"%REQ(X)%"', []);
  expect(line(record(), head({ x: 'a\r\nfake" \x1b[31m' }))).toBe('"a\\x0d\\x0afake\\" \\x1b[31m"');
});

test("a slow sink makes lines drop, and they are counted", async () => {
  const written: string[] = [];
  let release: ((lost: boolean) => void) | null = null;
  const log = new AccessLogBuffer((text, done) => {
    written.push(text);
    release = done;
  }, 10);
  log.push("one");
  await expect.poll(() => written).toEqual(["one\n"]);
  log.push("two");
  log.push("three");
  log.push("four");
  expect(log.dropped).toBe(1);
  release!(false);
  expect(written[1]).toBe("two\nthree\n");
});

test("a disk that is full loses lines, which are counted, and ends nothing", async () => {
  const told: string[] = [];
  const sinks = new LogSinks((path, error) => told.push(`${path}: ${error.message}`));
  const full = sinks.of({ kind: "file", path: "/dev/full" } as AccessLog);
  for (const text of ["one", "two"]) {
    full.push(text);
    await sinks.close(5000);
  }
  expect(sinks.dropped).toBe(2);
  expect(told).toEqual([expect.stringMatching(/^\/dev\/full: ENOSPC/)]);
});

test("a pipe that nobody reads holds back nothing but its lines; a reader gets all that was kept, in order", async () => {
  const fifo = join(mkdtempSync(join(tmpdir(), "weft-log-")), "fifo");
  execFileSync("mkfifo", [fifo]);
  const told: string[] = [];
  const sinks = new LogSinks((path, error) => told.push(`${path}: ${error.message}`));
  const log = sinks.of({ kind: "file", path: fifo } as AccessLog);
  log.push("lost: nobody has opened it");
  await sinks.close(5000);
  expect([sinks.dropped, told.length]).toEqual([1, 1]);
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  const line = "x".repeat(1000);
  for (let i = 0; i < 300; i++) log.push(`${i} ${line}`); // four times what a pipe holds
  let got = "";
  await sinks.close(1); // returns, though nothing is read
  const piece = Buffer.alloc(1 << 16);
  await expect
    .poll(() => {
      try {
        got += piece.toString("latin1", 0, readSync(reader, piece));
      } catch {}
      return got.split("\n").length;
    })
    .toBe(301);
  expect(got.match(/^\d+/gm)?.map(Number)).toEqual(Array.from({ length: 300 }, (_, i) => i));
  closeSync(reader);
});
