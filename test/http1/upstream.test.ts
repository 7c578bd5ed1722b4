/** What a backend may do to us: rows 116-135 and the rows that need a peer. The backend is scripted, everything else is real. */
import type { Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Backend } from "./backend.ts";
import { talk } from "./client.ts";
import { type Plane, startPlane } from "./plane.ts";

let backend: Backend;
let plane: Plane;
// New ones for each test: a connection left in the pool would be the next test's.
beforeEach(async () => {
  backend = await new Backend().listen();
  plane = await startPlane({ backendPort: backend.port });
});
afterEach(async () => {
  await plane.stop();
  backend.close();
});

const b = (text: string): Buffer => Buffer.from(text, "latin1");
const get = (path = "/", fields = ""): Buffer => b(`GET ${path} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`);
const GET_LAST = get("/last", "Connection: close\r\n");
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/** Answers every request with these bytes. */
function answer(raw: string, then: "" | "fin" | "reset" = ""): void {
  backend.reply = ({ target }, { socket }) => {
    if (target === "/last") {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast");
      return;
    }
    socket.write(raw, "latin1", () => {
      if (then === "fin") socket.end();
      if (then === "reset") setImmediate(() => socket.resetAndDestroy());
    });
  };
}
/** No connection is used for more than one request, and the one in doubt ends. */
async function expectNotPooled(): Promise<void> {
  const last = await talk(plane.port, [GET_LAST]);
  expect(last.answers.map(({ body }) => body)).toEqual(["last"]);
  const [first, ...others] = backend.connections;
  expect(others.length).toBeGreaterThan(0);
  expect(first!.log).not.toContain("/last");
  await expect.poll(() => first!.end).not.toBe("");
}

const R = "HTTP/1.1 200 OK\r\n";
const BAD: readonly [row: string, raw: string][] = [
  ["124 length and coding", `${R}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ["124 coding and length", `${R}Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n`],
  ["124 two lengths", `${R}Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!`],
  ["124 the same length twice", `${R}Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi`],
  ["124 a list of lengths", `${R}Content-Length: 2, 2\r\n\r\nhi`],
  ["124 length -1", `${R}Content-Length: -1\r\n\r\nhi`],
  ["124 length +2", `${R}Content-Length: +2\r\n\r\nhi`],
  ["124 length 0x2", `${R}Content-Length: 0x2\r\n\r\nhi`],
  ["124 length empty", `${R}Content-Length: \r\n\r\nhi`],
  ["124 length above 2^53", `${R}Content-Length: 9007199254740993\r\n\r\nhi`],
  ["125 xchunked", `${R}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
  ["125 chunked, gzip", `${R}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n`],
  ["125 gzip, chunked", `${R}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
  ["125 chunked twice", `${R}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ["125 coding of HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
  ["127 204 with a body", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"],
  ["127 204 chunked", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
  ["127 103 with a length", `HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nhi${OK}`],
  ["127 100 chunked", `HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n${OK}`],
  ["128 100 a thousand times", "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000) + OK],
  [
    "119 101 that nobody asked for",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
  ],
  ["132 status 2000", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nhi"],
  ["132 status 20", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nhi"],
  ["132 status 099", "HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nhi"],
  ["132 status 600", "HTTP/1.1 600 OK\r\nContent-Length: 2\r\n\r\nhi"],
  ["132 status -20", "HTTP/1.1 -20 OK\r\nContent-Length: 2\r\n\r\nhi"],
  ["132 ICY", "ICY 200 OK\r\nContent-Length: 2\r\n\r\nhi"],
  ["132 HTTP/2", "HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nhi"],
  ["132 HTTP/1.2", "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nhi"],
  ["132 lower case", "http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"],
  ["132 two spaces", "HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nhi"],
  ["132 garbage", "\x15\x03\x01\x00\x02\x02\x28\r\n\r\n"],
  ["132 an empty line first", `\r\n${OK}`],
  ["133 line feeds", "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi"],
  ["133 CR in a value", `${R}X: a\rb\r\nContent-Length: 2\r\n\r\nhi`],
  ["133 LF in a value", `${R}X: a\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nhi`],
  ["133 NUL in a value", `${R}X: a\0b\r\nContent-Length: 2\r\n\r\nhi`],
  ["133 NUL in the reason", "HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nhi"],
  ["133 a folded line", `${R}X: a\r\n b\r\nContent-Length: 2\r\n\r\nhi`],
  ["133 no colon", `${R}nocolon\r\nContent-Length: 2\r\n\r\nhi`],
  ["133 space before the colon", `${R}Content-Length : 2\r\n\r\nhi`],
  ["133 101 fields", `${R}${"X: a\r\n".repeat(100)}Content-Length: 2\r\n\r\nhi`],
  ["133 a head of 100 KiB", `${R}X: ${"a".repeat(102_400)}\r\nContent-Length: 2\r\n\r\nhi`],
  ["133 a head without an end", `${R}X: ${"a".repeat(102_400)}`],
  [
    "133 a thousand connection options",
    `${R}Connection: ${"x,".repeat(1000)}y\r\nContent-Length: 2\r\n\r\nhi`,
  ],
];
test.each(BAD)("%s: 502, and the connection is destroyed", async (_row, raw) => {
  answer(raw);
  const { answers } = await talk(plane.port, [get("/"), GET_LAST], {
    until: (got) => got.filter(({ status }) => status >= 200).length === 2,
  });
  const final = answers.filter(({ status }) => status >= 200);
  expect(final.map(({ status, body }) => [status, body])).toEqual([
    [502, expect.any(String)],
    [200, "last"],
  ]);
  expect(answers.length - final.length).toBeLessThanOrEqual(16);
  await expectNotPooled();
});

const ALIVE: readonly [row: string, raw: string, request: Buffer, status: number, body: string][] = [
  ["126 HEAD with a body", OK, b("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"), 200, ""],
  ["127 304 with a body", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nhi", get(), 304, ""],
  ["127 204 and surplus bytes", "HTTP/1.1 204 No Content\r\n\r\nhello", get(), 204, ""],
  ["129 two answers at once", `${OK}${OK}`, get(), 200, "hi"],
  ["135 close", `${R}Connection: close\r\nContent-Length: 2\r\n\r\nhi${OK}`, get(), 200, "hi"],
];
test.each(ALIVE)("%s: the next request gets its own answer", async (_row, raw, request, status, body) => {
  answer(raw);
  const methods = request.toString().startsWith("HEAD") ? ["HEAD", "GET"] : [];
  const { answers } = await talk(plane.port, [request, GET_LAST], { methods });
  expect(answers.map((a) => [a.status, a.body])).toEqual([
    [status, body],
    [200, "last"],
  ]);
  await expectNotPooled();
});

describe("128: informational answers", () => {
  const hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
  test("103 is passed on", async () => {
    answer(hints + OK);
    const { answers } = await talk(plane.port, [get("/", "Connection: close\r\n")]);
    expect(answers.map(({ status }) => status)).toEqual([103, 200]);
    expect(answers[0]!.fields).toBe("link: </a>\r\n");
  });
  test("not to HTTP/1.0", async () => {
    answer(hints + OK);
    const { answers } = await talk(plane.port, [b("GET / HTTP/1.0\r\nHost: a\r\n\r\n")]);
    expect(answers.map(({ status }) => status)).toEqual([200]);
  });
  test("16 of them at most", async () => {
    answer(hints.repeat(16) + OK);
    expect((await talk(plane.port, [get("/", "Connection: close\r\n")])).answers).toHaveLength(17);
  });
});

test("129: bytes on an idle connection evict it and reach nobody", async () => {
  for (const poison of [OK, "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n", "x"]) {
    backend.reset();
    answer(OK);
    await talk(plane.port, [get("/first", "Connection: close\r\n")]);
    const connection = backend.connections.find(({ log }) => log.includes("/first"))!;
    const { log } = connection;
    connection.socket.write(poison);
    await expect.poll(() => connection.end).not.toBe("");
    const { answers } = await talk(plane.port, [GET_LAST]);
    expect(answers.map((a) => a.body)).toEqual(["last"]);
    expect(connection.log).toBe(log);
  }
});

const TRUNCATED: readonly [row: string, raw: string, then: "fin" | "reset"][] = [
  ["130 FIN within a length", `${R}Content-Length: 10\r\n\r\nhello`, "fin"],
  ["130 FIN within a chunk", `${R}Transfer-Encoding: chunked\r\n\r\na\r\nhello`, "fin"],
  ["130 FIN between chunks", `${R}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`, "fin"],
  ["130 FIN within the trailers", `${R}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n`, "fin"],
  ["130 RST within a length", `${R}Content-Length: 10\r\n\r\nhello`, "reset"],
  ["131 RST instead of the end", `${R}\r\nhello`, "reset"],
  ["124 a bad chunk", `${R}Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n`, "fin"],
];
test.each(TRUNCATED)("%s: the client sees a reset, never a clean end", async (_row, raw, then) => {
  backend.reply = (_request, { socket }) => {
    const cut = raw.indexOf("\r\n\r\n") + 4;
    // The head is read by itself, so that the answer has begun when the fault comes.
    socket.write(raw.slice(0, cut), "latin1", () =>
      setTimeout(() => {
        socket.write(raw.slice(cut), "latin1", () => {
          if (then === "fin") socket.end();
          else setTimeout(() => socket.resetAndDestroy(), 10);
        });
      }, 10),
    );
  };
  const { answers, rest, end } = await talk(plane.port, [get()]);
  expect(end).toBe("reset");
  for (const { body } of answers) expect(body.length).toBeLessThan(10);
  expect(rest).not.toContain("\r\n0\r\n\r\n");
});

test("131: a body that ends with the connection is chunked for 1.1, and ends with the connection for 1.0", async () => {
  answer(`${R}\r\nhello`, "fin");
  const newer = await talk(plane.port, [get()], { until: (_got, text) => text.endsWith("0\r\n\r\n") });
  expect(newer.answers.map(({ body }) => body)).toEqual(["hello"]);
  expect(undated(newer.answers[0]!.fields)).toBe("transfer-encoding: chunked\r\n");
  const older = await talk(plane.port, [b("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")]);
  expect(older.answers.map(({ body, fields }) => [body, undated(fields)])).toEqual([
    ["hello", "connection: close\r\n"],
  ]);
  expect(older.end).toBe("fin");
});

test.each([
  ["019 a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"],
  ["061 chunks", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"],
  ["061 a last chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"],
])("FIN within %s: 400, and no whole request upstream", async (_row, raw) => {
  for (const pieces of [[b(raw)], [b(raw.slice(0, -6)), b(raw.slice(-6))]]) {
    backend.reset();
    const { answers, end } = await talk(plane.port, pieces, { finAfter: 0 });
    expect(answers.map(({ status }) => status)).toEqual([400]);
    expect(end).toBe("fin");
    expect(backend.requests).toEqual([]);
    await expect.poll(() => backend.connections.every((c) => c.end !== "")).toBe(true);
    expect(backend.bytes).not.toContain("0\r\n\r\n");
  }
});

test("a head that never ends before a FIN is nobody's request", async () => {
  const { answers, end } = await talk(plane.port, [b("GET / HTTP/1.1\r\nHos")], { finAfter: 0 });
  expect([answers, end, backend.bytes]).toEqual([[], "fin", ""]);
});

test("121: 100 Continue comes from here, once, and an early answer ends both connections", async () => {
  const post = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
  const good = await talk(plane.port, [b(post), b("hello"), GET_LAST]);
  expect(good.answers.map(({ status }) => status)).toEqual([100, 200, 200]);
  expect(backend.requests.map(({ body }) => body)).toEqual(["hello", ""]);
});

test.each(["HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n", OK])(
  "120: %j before the body: nothing the client sends later is a request",
  async (raw) => {
    backend.raw = ({ socket }) => {
      if (socket.bytesWritten === 0) socket.write(raw);
      return true;
    };
    let client: Socket | null = null;
    const { answers, end } = await talk(
      plane.port,
      [b("POST /expect HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")],
      {
        onConnect: (socket) => {
          client = socket;
        },
        until: (got) => {
          if (got.length === 2) client?.write("helloGET /evil HTTP/1.1\r\nHost: a\r\n\r\n");
          return false;
        },
      },
    );
    expect(answers.map(({ status }) => status)).toEqual([100, Number(raw.slice(9, 12))]);
    expect(answers[1]!.fields).toMatch(/connection: close/);
    expect(["fin", "reset"]).toContain(end);
    expect(backend.bytes).not.toContain("/evil");
    backend.raw = null;
    answer(OK);
    await expectNotPooled();
  },
);

const WEBSOCKET = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
test("116: bytes ahead of a real 101 are held until it comes, then tunnelled both ways", async () => {
  let before = "";
  backend.raw = (connection) => {
    if (connection.log.endsWith("early")) connection.socket.write("push");
    else
      setTimeout(() => {
        before = connection.log;
        connection.socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\r\n");
      }, 30);
    return true;
  };
  const { answers, rest } = await talk(plane.port, [Buffer.concat([get("/ws", WEBSOCKET), b("early")])], {
    until: (_got, text) => text.endsWith("push"),
  });
  expect(answers.map(({ status, fields }) => [status, fields])).toEqual([
    [101, "connection: upgrade\r\nupgrade: WebSocket\r\n"],
  ]);
  expect(rest).toBe("push");
  expect(before).toContain("connection: upgrade\r\nupgrade: websocket\r\n");
  expect(before).toMatch(/\r\n\r\n$/);
});

const REFUSED: readonly [row: string, raw: string, status: number][] = [
  ["116 answered 400", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", 400],
  [
    "117 answered 200 with Upgrade",
    `${R}Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nhi`,
    200,
  ],
  [
    "118 answered 101 to another protocol",
    "HTTP/1.1 101 S\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\n",
    502,
  ],
  ["118 answered 101 without a protocol", "HTTP/1.1 101 S\r\nConnection: upgrade\r\n\r\n", 502],
  [
    "118 answered 101 with a length",
    "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\n",
    502,
  ],
];
test.each(REFUSED)(
  "%s: early bytes go nowhere, and neither connection is used again",
  async (_row, raw, status) => {
    answer(raw);
    const { answers, end } = await talk(plane.port, [Buffer.concat([get("/ws", WEBSOCKET), get("/admin")])]);
    expect(answers.map((a) => a.status)).toEqual([status]);
    expect(answers[0]!.fields).not.toMatch(/upgrade/i);
    expect(["fin", "reset"]).toContain(end);
    await expectNotPooled();
    expect(backend.bytes).not.toContain("/admin");
  },
);

test.each(["GET", "POST", "HEAD"])(
  "118: %s with an upgrade that no route allows is served without it",
  async (method) => {
    for (const token of ["TLS/1.2", "TLS/1.3, HTTP/1.1", "foo", "h2c"]) {
      backend.reset();
      const offer = `Connection: Upgrade\r\nUpgrade: ${token}\r\n`;
      const { answers } = await talk(
        plane.port,
        [b(`${method} /first HTTP/1.1\r\nHost: a\r\n${offer}Content-Length: 0\r\n\r\n`), GET_LAST],
        { methods: [method] },
      );
      expect(answers.map((a) => a.status)).toEqual([200, 200]);
      expect(backend.requests.map(({ target }) => target)).toEqual(["/first", "/last"]);
      expect(backend.bytes).not.toMatch(/upgrade/i);
    }
  },
);

test("113: what belongs to the hop is removed on the way back too", async () => {
  answer(
    `${R}Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nX-Kept: \xe9\r\nContent-Length: 2\r\n\r\nhi`,
  );
  const { answers } = await talk(plane.port, [get()], { until: (got) => got.length === 1 });
  expect(undated(answers[0]!.fields)).toBe("x-kept: \xe9\r\ncontent-length: 2\r\n");
});

test("a Date is added where the backend gave none, and left where it did (RFC 9110 6.6.1)", async () => {
  answer(`${R}Content-Length: 0\r\n\r\n`);
  const { answers } = await talk(plane.port, [get()], { until: (got) => got.length === 1 });
  expect(undated(answers[0]!.fields)).not.toBe(answers[0]!.fields);
  answer(`${R}Date: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Length: 0\r\n\r\n`);
  const second = await talk(plane.port, [get()], { until: (got) => got.length === 1 });
  expect(second.answers[0]!.fields.match(/date:/gi)).toEqual(["date:"]);
  expect(second.answers[0]!.fields).toContain("15 Nov 1994");
});

/** Without the Date that the proxy adds. */
function undated(fields: string): string {
  return fields.replace(/date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n/, "");
}

test("122: what only the mesh may say is not taken from a client", async () => {
  const claims =
    "X-Envoy-Original-Path: /x\r\nx-ENVOY-peer-metadata: y\r\nX-Forwarded-Client-Cert: URI=spiffe://evil\r\n";
  await talk(plane.port, [get("/claims", `${claims}X-Other: z\r\nConnection: close\r\n`)]);
  expect(backend.requests[0]!.fields.map(([name]) => name)).toEqual(["host", "x-other", "x-forwarded-proto"]);
});

test("134: an early answer is delivered; the upload is drained for a while, then cut; upstream is not reused", async () => {
  backend.raw = ({ socket, log }) => {
    if (log.includes("/upload") && socket.bytesWritten === 0)
      socket.write("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\n\r\nbig");
    return log.includes("/upload");
  };
  const head = b("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 104857600\r\n\r\n");
  const chunk = Buffer.alloc(1 << 20);
  const { answers, end } = await talk(plane.port, [head, ...Array.from({ length: 100 }, () => chunk)]);
  expect(answers.map(({ status, body }) => [status, body])).toEqual([[413, "big"]]);
  expect(answers[0]!.fields).toMatch(/connection: close/);
  expect(["fin", "reset"]).toContain(end);
  const upload = backend.connections.find(({ log }) => log.includes("/upload"))!;
  await expect.poll(() => upload.end).not.toBe("");
});

test("each attempt says its number, whatever the client said", async () => {
  const counting = await startPlane({
    backendPort: backend.port,
    virtualHosts: [
      {
        name: "v",
        domains: ["*"],
        includeRequestAttemptCount: true,
        retryPolicy: {
          retryOn: "5xx",
          numRetries: 2,
          retryBackOff: { baseInterval: { seconds: 0n, nanos: 5e6 } },
        },
        routes: [
          {
            match: { pathSpecifier: { case: "prefix", value: "/" } },
            action: { case: "route", value: { clusterSpecifier: { case: "cluster", value: "backend" } } },
          },
        ],
      },
    ],
  });
  answer(`HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n`);
  const { answers } = await talk(counting.port, [
    get("/", "X-Envoy-Attempt-Count: 7\r\nConnection: close\r\n"),
  ]);
  expect(answers.map(({ status }) => status)).toEqual([500]);
  expect(backend.requests.map(({ fields }) => fields.filter(([n]) => n === "x-envoy-attempt-count"))).toEqual(
    ["1", "2", "3"].map((n) => [["x-envoy-attempt-count", n]]),
  );
  await counting.stop();
});

describe("135: a kept connection that dies as the next request comes", () => {
  let retrying: Plane;
  beforeEach(async () => {
    retrying = await startPlane({
      backendPort: backend.port,
      retry: { retryOn: "reset,connect-failure", numRetries: 2 },
    });
  });
  afterEach(() => retrying.stop());

  /** The first connection answers once and dies at its second request, unanswered. */
  function dieAtSecond(): void {
    let first: unknown = null;
    backend.reply = (_request, connection) => {
      first ??= connection;
      if (first === connection && connection.log.split(" HTTP/1.1\r\n").length > 2)
        connection.socket.destroy();
      else connection.socket.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    };
  }
  test.each([
    ["GET", get("/again", "Connection: close\r\n"), [200, 200], 2],
    [
      "POST",
      b("POST /again HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"),
      [200, 503],
      1,
    ],
  ])("%s", async (_method, request, statuses, count) => {
    dieAtSecond();
    const { answers } = await talk(retrying.port, [get("/one"), request]);
    expect(answers.map(({ status }) => status)).toEqual(statuses);
    expect(backend.requests.filter(({ target }) => target === "/again")).toHaveLength(count);
  });
});
