import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { connect as tlsConnect } from "node:tls";
import { afterEach, expect, test } from "vitest";
import { TestClock } from "#lib/clock.ts";
import { HelloParser } from "./client-hello.ts";
import { type Detected, detect, inspect } from "./detect.ts";
import { httpProtocol } from "./http-head.ts";

const both = { tls: true, http: true, timeoutMs: 0 };
let server: Server | undefined;
afterEach(() => server?.close());

/** Accepts one connection, detects, then reads `want` bytes that follow. */
async function accept(
  send: (port: number) => void,
  options = both,
): Promise<{ detected: Detected | null; socket: Socket }> {
  server = createServer({ allowHalfOpen: true });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const arrived = once(server, "connection");
  send((server.address() as { port: number }).port);
  const [socket] = (await arrived) as [Socket];
  return new Promise((resolve) =>
    detect(
      socket,
      options,
      (detected) => resolve({ detected, socket }),
      () => resolve({ detected: null, socket }),
    ),
  );
}

async function readAll(socket: Socket): Promise<string> {
  let text = "";
  for await (const chunk of socket) text += (chunk as Buffer).toString("latin1");
  return text;
}

async function helloOf(options: { servername?: string; ALPNProtocols?: string[] }): Promise<Buffer> {
  const raw = createServer();
  raw.listen(0, "127.0.0.1");
  await once(raw, "listening");
  const client = tlsConnect({
    port: (raw.address() as { port: number }).port,
    host: "127.0.0.1",
    ...options,
  });
  client.on("error", () => {});
  const [socket] = (await once(raw, "connection")) as [Socket];
  const [bytes] = (await once(socket, "data")) as [Buffer];
  client.destroy();
  socket.destroy();
  raw.close();
  return bytes;
}

test("HTTP bytes are recognised and still there afterwards", async () => {
  const { detected, socket } = await accept((port) =>
    connect(port, "127.0.0.1").end("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
  );
  expect(detected?.applicationProtocols).toEqual(["http/1.1"]);
  expect(await readAll(socket)).toBe("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
});

test("a real ClientHello gives SNI and ALPN, whole or split at every byte", async () => {
  const bytes = await helloOf({
    servername: "Reviews.example",
    ALPNProtocols: ["istio-http/1.1", "istio", "h2"],
  });
  for (let cut = 1; cut < bytes.length; cut++)
    expect(inspect(bytes.subarray(0, cut), new HelloParser(), both)).toBeNull();
  expect(inspect(bytes, new HelloParser(), both)).toEqual({
    transport: "tls",
    applicationProtocols: ["istio-http/1.1", "istio", "h2"],
    serverName: "reviews.example",
    timedOut: false,
  });
});

test("a hello in one-byte TLS records is put together", async () => {
  const whole = await helloOf({ servername: "a.b" });
  const records: Buffer[] = [];
  for (const byte of whole.subarray(5)) records.push(Buffer.from([0x16, 3, 1, 0, 1, byte]));
  const split = Buffer.concat(records);
  expect(inspect(split, new HelloParser(), both)?.serverName).toBe("a.b");
  expect(
    inspect(
      Buffer.concat([
        Buffer.from([0x16, 3, 1, 0, 2]),
        whole.subarray(5, 7),
        Buffer.from([0x16, 3, 1]),
        Buffer.from([(whole.length - 7) >> 8, (whole.length - 7) & 255]),
        whole.subarray(7),
      ]),
      new HelloParser(),
      both,
    )?.serverName,
  ).toBe("a.b");
});

test("plaintext that begins with 0x16 is not TLS", () => {
  expect(inspect(Buffer.from([0x16, 9, 9, 9]), new HelloParser(), both)?.transport).toBe("raw_buffer");
});

test.each([
  ["GET /x HTTP/1.0\r\n", "http/1.0"],
  ["get /x HTTP/1.1\r\n", "http/1.1"],
  ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "h2c"],
  ["PRI * HT", null],
  ["PRI * HTTP/2.0\r\n\r\nXX", "http/1.1"],
  ["GET", null],
  ["GET /x", null],
  ["\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n", "http/1.1"],
  // What http1/ refuses, but some servers take.
  ["GET  / HTTP/1.1 \r\n", "http/1.1"],
  ["GET\t/\tHTTP/1.1\r\n", "http/1.1"],
  ["GET / http/1.1\n", "http/1.1"],
  ["GET / HTTP/2.0\r\n", "http/1.1"],
  ["GET / HTTP/1.1 more\r\n", "http/1.1"],
  ["GET /\r\n", "http/1.1"],
  ["GET\r/ HTTP/1.1\n", "http/1.1"],
  [`${"M".repeat(100)} / HTTP/1.1\r\n`, "http/1.1"],
  [`GET /${"x".repeat(20_000)}`, "http/1.1"],
  [`GET /${"x".repeat(20_000)} HTTP/1.1\r\n`, "http/1.1"],
  [`ODD /${"x".repeat(20_000)}`, "http/1.1"],
  // Other protocols of text.
  ["SSH-2.0-OpenSSH_9\r\n", ""],
  ["EHLO me\r\n", ""],
  ["get key\r\n", ""],
  ["GET key\r\n", ""],
  ["*1\r\n$4\r\nPING\r\n", ""],
  ["CONNECT {}\r\n", ""],
  ["DESCRIBE rtsp://a RTSP/1.0\r\n", ""],
  ["STATUS\r", ""],
  ["x".repeat(20_000), ""],
  [`set k ${"x".repeat(20_000)}`, ""],
  ["\x00\x01", ""],
])("%.60j is %j", (bytes, want) => {
  expect(httpProtocol(Buffer.from(bytes, "latin1"))).toBe(want);
});

test.each([
  ["GE", true],
  ["GET /slow", true],
  ["ODD /slow", true],
  ["PRI *", true],
  ["PING", false],
  ["hello world", false],
  ["\x16\x03\x01", false],
])("%j, and no more in time: HTTP is %j", async (bytes, http) => {
  server = createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connect((server.address() as { port: number }).port, "127.0.0.1");
  client.write(bytes, "latin1");
  const [socket] = (await once(server, "connection")) as [Socket];
  const clock = new TestClock();
  const seen = new Promise<Detected>((resolve) =>
    detect(socket, { ...both, timeoutMs: 5000, clock }, resolve, () => {}),
  );
  await expect.poll(() => socket.bytesRead).toBe(bytes.length);
  clock.advance(5000);
  expect(await seen).toMatchObject({ timedOut: true, applicationProtocols: http ? ["http/1.1"] : [] });
  client.destroy();
  socket.destroy();
});

test("a silent client of a server-first protocol goes on after the timeout", async () => {
  let client: Socket | undefined;
  const { detected, socket } = await accept(
    (port) => {
      client = connect(port, "127.0.0.1");
    },
    { ...both, timeoutMs: 20 },
  );
  expect(detected?.timedOut).toBe(true);
  socket.write("220 hello");
  const [greeting] = (await once(client!, "data")) as [Buffer];
  expect(greeting.toString()).toBe("220 hello");
  client!.destroy();
  socket.destroy();
});

test("a client that leaves before saying anything is gone, not detected", async () => {
  const { detected } = await accept((port) => connect(port, "127.0.0.1").end());
  expect(detected).toBeNull();
});

test("a request line that never ends, then a half-close, is HTTP", async () => {
  const { detected, socket } = await accept((port) => connect(port, "127.0.0.1").end("GET / HTTP/1.1"));
  expect(detected?.applicationProtocols).toEqual(["http/1.1"]);
  expect(await readAll(socket)).toBe("GET / HTTP/1.1");
});

test.each([
  ["too little to tell", ["hi"]],
  ["in two pieces", ["h", "i"]],
  ["the beginning of a ClientHello", ["\x16\x03\x01"]],
])("%s, then a half-close: TCP, with its bytes and its end", async (_name, pieces) => {
  const { detected, socket } = await accept((port) => {
    const client = connect(port, "127.0.0.1").setNoDelay();
    for (const piece of pieces) client.write(piece, "latin1");
    client.end();
  });
  expect(detected).toMatchObject({ transport: "raw_buffer", applicationProtocols: [], timedOut: false });
  expect(await readAll(socket)).toBe(pieces.join(""));
});
