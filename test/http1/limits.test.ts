/** Limits, pipelining and time (rows 065, 136-141). */
import { once } from "node:events";
import { connect } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Backend } from "./backend.ts";
import { readAnswers, talk } from "./client.ts";
import { type Plane, startPlane } from "./plane.ts";

let backend: Backend;
let plane: Plane;
const HEAD_TIMEOUT_MS = 300;
beforeEach(async () => {
  backend = await new Backend().listen();
  plane = await startPlane({
    backendPort: backend.port,
    connection: { headTimeoutMs: HEAD_TIMEOUT_MS, lingerMs: 50 },
  });
});
afterEach(async () => {
  await plane.stop();
  backend.close();
});

const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;

/** Resolves once the value is the same for some turns of the clock: the way to see that something has stopped. */
async function settled(value: () => number): Promise<number> {
  for (let last = -1, same = 0; ; ) {
    await new Promise((resolve) => setTimeout(resolve, 30));
    same = value() === last ? same + 1 : 0;
    last = value();
    if (same === 5) return last;
  }
}

test("138: 1000 pipelined requests: in order, one at a time", async () => {
  let waiting = 0;
  let most = 0;
  backend.reply = ({ target }, { socket }) => {
    most = Math.max(most, ++waiting);
    setImmediate(() => {
      waiting--;
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${target.length}\r\n\r\n${target}`);
    });
  };
  const paths = Array.from({ length: 1000 }, (_, i) => `/${i}`);
  const { answers } = await talk(plane.port, [Buffer.from(paths.map(get).join(""))], {
    until: (got) => got.length === 1000,
  });
  expect(answers.map(({ body }) => body)).toEqual(paths);
  expect(most).toBe(1);
  expect(backend.connections).toHaveLength(1);
});

test("139: 10,000 malformed requests from a client that does not read: one 400, then the end", async () => {
  const client = connect({ port: plane.port, host: "127.0.0.1" }).pause();
  client.on("error", () => {});
  client.write("GET / HTTP/9.9\r\nHost: a\r\nX : y\r\n\r\n".repeat(10_000));
  await expect.poll(() => plane.open.size, { timeout: 10_000 }).toBe(0);
  let text = "";
  client.setEncoding("latin1").on("data", (more: string) => {
    text += more;
  });
  client.resume();
  await once(client, "close");
  expect(readAnswers(text, []).answers.map(({ status }) => status)).toEqual(text === "" ? [] : [505]);
  expect(backend.bytes).toBe("");
});

test("139: a client that sends good requests and reads nothing is not served on and on", async () => {
  const body = "x".repeat(8000); // below any watermark: it is the number that must not pile up
  backend.reply = (_request, { socket }) =>
    void socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  const client = connect({ port: plane.port, host: "127.0.0.1" }).pause();
  const total = 6000;
  client.write(get("/").repeat(total));
  const served = await settled(() => backend.requests.length);
  expect(served).toBeGreaterThan(0);
  expect(served).toBeLessThan(total / 2); // what the kernel's buffers hold, of 48 MB
  client.resume();
  await expect.poll(() => backend.requests.length, { timeout: 25_000 }).toBe(total);
  client.destroy();
});

test("a slow reader gets the end of an answer after which the connection closes", async () => {
  const body = "x".repeat(64 << 20); // more than the kernel's buffers take
  const direct = { status: 200, body: { specifier: { case: "inlineString" as const, value: body } } };
  const big = await startPlane({
    backendPort: backend.port,
    connection: { lingerMs: 50 },
    virtualHosts: [
      {
        name: "v",
        domains: ["*"],
        routes: [
          {
            match: { pathSpecifier: { case: "prefix", value: "/" } },
            action: { case: "directResponse", value: direct },
          },
        ],
      },
    ],
  });
  const client = connect({ port: big.port, host: "127.0.0.1" }).pause();
  client.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  await new Promise((resolve) => setTimeout(resolve, 300)); // several times the linger time
  let received = 0;
  client.on("data", (data: Buffer) => {
    received += data.length;
  });
  client.resume();
  await once(client, "end");
  expect(received).toBeGreaterThan(body.length);
  client.destroy();
  await big.stop();
});

test("065: one-byte chunks to a backend that does not read: the client is held back", async () => {
  backend.raw = ({ socket }) => {
    socket.pause();
    return true;
  };
  const client = connect({ port: plane.port, host: "127.0.0.1" });
  client.on("error", () => {});
  client.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  const piece = Buffer.from("1\r\nx\r\n".repeat(10_000));
  const total = 2000 * piece.length; // 120 MB
  for (let i = 0; i < 2000; i++) client.write(piece);
  const pending = await settled(() => client.writableLength);
  expect(total - pending).toBeLessThan(total / 4);
  client.destroy();
});

test("chunks that come together leave together", async () => {
  const chunks = Array.from({ length: 1000 }, (_, i) => `1\r\n${i % 10}\r\n`).join("");
  await talk(plane.port, [
    Buffer.from(
      `POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`,
    ),
  ]);
  expect(backend.requests[0]!.body).toBe("0123456789".repeat(100));
  expect(backend.bytes.length).toBeLessThan(1400);
});

test("a head that does not end in time is 408, however slowly it goes on", async () => {
  const slow = connect({ port: plane.port, host: "127.0.0.1" });
  slow.on("error", () => {});
  let at = 0;
  const feed = setInterval(() => slow.write(get(`/${"a".repeat(1000)}`)[at++]!), 20);
  let text = "";
  slow.on("data", (data) => {
    text += data;
  });
  await once(slow, "end");
  clearInterval(feed);
  slow.destroy();
  const { answers } = readAnswers(text, []);
  expect(answers.map(({ status }) => status)).toEqual([408]);
  expect(answers[0]!.fields).toMatch(/^connection: close\r$/m);
  expect(backend.bytes).toBe("");
});

test("408 on a kept connection too; a quiet one without a byte is only idle", async () => {
  const { answers, end } = await talk(plane.port, [Buffer.from(get("/")), Buffer.from("GET /half")]);
  expect(answers.map(({ status }) => status)).toEqual([200, 408]);
  expect(end).toBe("fin");
  const idle = connect({ port: plane.port, host: "127.0.0.1" });
  await once(idle, "connect");
  await talk(plane.port, [Buffer.from("GET /later")]); // takes the whole head timeout
  idle.write(get("/"));
  expect(String((await once(idle, "data"))[0])).toMatch(/^HTTP\/1\.1 200 /);
  idle.destroy();
});
