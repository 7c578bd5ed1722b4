import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request as httpRequest, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createLogger } from "#lib/log.ts";
import { TracesDataSchema } from "#xds/gen/opentelemetry/proto/trace/v1/trace_pb.js";
import { Forwarder } from "./forward.ts";
import { createOtlpServer } from "./receiver.ts";
import { TraceStore } from "./store.ts";

/** A little after the spans below. */
const NOW = 1_700_000_100_000;

let dir: string;
let store: TraceStore;
let server: Server;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "weft-otlp-"));
  store = new TraceStore(join(dir, "traces.db"), { spans: 20, spansPerTrace: 5 }, () => NOW);
  server = createOtlpServer(store, createLogger("test", "silent"));
  await new Promise<void>((done) => server.listen(join(dir, "otlp.sock"), done));
});
afterEach(() => {
  server.close();
  store.close();
  rmSync(dir, { recursive: true });
});

async function post(body: string | Buffer, headers: Record<string, string>, path = "/v1/traces") {
  const response = await new Promise<IncomingMessage>((done, fail) =>
    httpRequest({ socketPath: join(dir, "otlp.sock"), method: "POST", path, headers }, done)
      .on("error", fail)
      .end(body),
  );
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return { status: response.statusCode, text: Buffer.concat(chunks).toString() };
}
const JSON_HEADERS = { "content-type": "application/json" };
const PROTOBUF_HEADERS = { "content-type": "application/x-protobuf" };
const trace = (n: number) => n.toString(16).padStart(32, "0");
const id = (n: number) => n.toString(16).padStart(16, "0");

function json(traceNumber: number, spans: readonly [span: number, parent: number][], service = "reviews") {
  return JSON.stringify({
    resourceSpans: [
      {
        resource: { attributes: [{ key: "service.name", value: { stringValue: service } }] },
        scopeSpans: [
          {
            spans: spans.map(([span, parent]) => ({
              traceId: trace(traceNumber),
              spanId: id(span),
              parentSpanId: parent === 0 ? "" : id(parent),
              name: `span ${span}`,
              kind: 2,
              startTimeUnixNano: String(
                1_700_000_000_000_250_000n + BigInt(traceNumber * 100 + span) * 1_000_000n,
              ),
              endTimeUnixNano: String(
                1_700_000_000_010_250_000n + BigInt(traceNumber * 100 + span) * 1_000_000n,
              ),
              attributes: [{ key: "http.status_code", value: { intValue: "200" } }],
              status: { code: span === 2 ? 2 : 0 },
            })),
          },
        ],
      },
    ],
  });
}

test("JSON spans come back as a trace whose root is known although it came last", async () => {
  expect(await post(json(1, [[2, 1]]), JSON_HEADERS)).toEqual({ status: 200, text: "{}" });
  await post(json(1, [[1, 0]], "gateway"), JSON_HEADERS);
  expect(store.list({ limit: 5 })).toEqual([
    {
      traceId: trace(1),
      root: "span 1",
      service: "gateway",
      startMs: 1_700_000_000_101.25,
      durationMs: 11,
      spans: 2,
      error: true,
    },
  ]);
  expect(store.get(trace(1))?.[1]).toMatchObject({
    parentSpanId: id(1),
    kind: "server",
    service: "reviews",
    attributes: { "http.status_code": 200 },
  });
  expect(store.list({ limit: 5, services: ["ratings"] })).toEqual([]);
  expect(store.list({ limit: 5, sinceMs: 1_700_000_000_102 })).toEqual([]);
});

test("protobuf with gzip is read; a repeated batch counts once; the file outlives the process", async () => {
  const startTimeUnixNano = BigInt(NOW) * 1_000_000n;
  const span = {
    traceId: Buffer.from(trace(7), "hex"),
    spanId: Buffer.from(id(1), "hex"),
    name: "x",
    startTimeUnixNano,
  };
  const data = create(TracesDataSchema, { resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] });
  const body = gzipSync(toBinary(TracesDataSchema, data));
  for (let i = 0; i < 2; i++) {
    const answer = await post(body, { ...PROTOBUF_HEADERS, "content-encoding": "gzip" });
    expect(answer).toEqual({ status: 200, text: "" });
  }
  const again = new TraceStore(join(dir, "traces.db"), {}, () => NOW);
  expect(again.list({ limit: 5 })).toMatchObject([{ traceId: trace(7), spans: 1, service: "unknown" }]);
  again.close();
});

test("bounds: a full trace refuses spans, and the oldest traces make room", async () => {
  const full = await post(
    json(1, [
      [1, 0],
      [2, 1],
      [3, 1],
      [4, 1],
      [5, 1],
      [6, 1],
    ]),
    JSON_HEADERS,
  );
  expect(JSON.parse(full.text).partialSuccess.rejectedSpans).toBe("1");
  for (let n = 2; n <= 5; n++)
    await post(
      json(n, [
        [1, 0],
        [2, 1],
        [3, 1],
        [4, 1],
        [5, 1],
      ]),
      JSON_HEADERS,
    );
  expect(store.list({ limit: 9 }).map((t) => t.traceId)).toEqual([5, 4, 3].map(trace));
});

test.each([
  ["another path", "{}", JSON_HEADERS, "/v1/metrics", 404, "/v1/traces"],
  ["another type", "{}", { "content-type": "text/plain" }, "/v1/traces", 415, "application/x-protobuf"],
  ["broken JSON", "{", JSON_HEADERS, "/v1/traces", 400, "not an OTLP trace export"],
  ["ids not in hex", json(1, [[1, 0]]).replace(trace(1), "zz"), JSON_HEADERS, "/v1/traces", 400, "not hex"],
  ["broken protobuf", "\x0a\xff", PROTOBUF_HEADERS, "/v1/traces", 400, "not an OTLP trace export"],
  ["no gzip", "{}", { ...JSON_HEADERS, "content-encoding": "gzip" }, "/v1/traces", 400, "not gzip"],
  ["too large", " ".repeat(4 * 1024 * 1024 + 1), JSON_HEADERS, "/v1/traces", 413, "smaller batches"],
  [
    "too large unpacked",
    gzipSync(Buffer.alloc(5 * 1024 * 1024)),
    { ...JSON_HEADERS, "content-encoding": "gzip" },
    "/v1/traces",
    413,
    "unpacked",
  ],
] as const)("refused with a reason: %s", async (_what, body, headers, path, status, reason) => {
  const answer = await post(body, headers, path);
  expect(answer.status).toBe(status);
  expect(JSON.parse(answer.text).message).toContain(reason);
  expect(store.list({ limit: 1 })).toEqual([]);
});

test("what is understood goes on as it came, in order; a collector that fails costs nothing here", async () => {
  const got: { path: string | undefined; type: string | undefined; body: string }[] = [];
  let status = 200;
  const collector = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    got.push({
      path: request.url,
      type: request.headers["content-type"],
      body: Buffer.concat(chunks).toString(),
    });
    response.writeHead(status).end();
  });
  await new Promise<void>((done) => collector.listen(0, "127.0.0.1", done));
  const { port } = collector.address() as AddressInfo;
  const warnings: string[] = [];
  const log = createLogger("test", "warn", (line) => warnings.push(JSON.parse(line).reason));
  const forwarder = new Forwarder(`http://127.0.0.1:${port}/`, log);
  server.close();
  server = createOtlpServer(store, log, (one) => forwarder.push(one));
  await new Promise<void>((done) => server.listen(join(dir, "otlp.sock"), done));
  const [one, two] = [json(1, [[1, 0]]), json(2, [[1, 0]])];
  await post(one, JSON_HEADERS);
  await post("{", JSON_HEADERS);
  status = 503;
  await post(two, JSON_HEADERS);
  await expect.poll(() => got).toHaveLength(2);
  expect(got).toEqual([one, two].map((body) => ({ path: "/v1/traces", type: "application/json", body })));
  await expect.poll(() => warnings).toContain("it answered 503");
  collector.close();
  expect((await post(json(3, [[1, 0]]), JSON_HEADERS)).status).toBe(200);
  expect(store.list({ limit: 9 })).toHaveLength(3);
});

test("a file that is no trace store is refused by name", () => {
  writeFileSync(
    join(dir, "other.db"),
    "this is not a database at all, but it is long enough to look like one".repeat(20),
  );
  expect(() => new TraceStore(join(dir, "other.db"))).toThrow(/other\.db is not a usable trace store/);
});
