/**
 * A client that closes before its answer has come (FIN) or is cut off (RST): its request is cancelled, and no descriptor is
 * kept, neither of its connection nor of the backend's.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Backend } from "./backend.ts";
import { readAnswers, talk } from "./client.ts";
import { type Plane, type PlaneOptions, startPlane } from "./plane.ts";

let backend: Backend;
let plane: Plane;
const sockets: Socket[] = [];
beforeEach(async () => {
  backend = await new Backend().listen();
  backend.reply = () => {};
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await plane.stop();
  backend.close();
});

async function start(options: Partial<PlaneOptions> = {}): Promise<void> {
  plane = await startPlane({ backendPort: backend.port, ...options });
}

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const UPLOAD = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n";
const LEAVES = ["end", "resetAndDestroy"] as const;

async function client(text: string | Buffer): Promise<Socket> {
  const socket = connect({ port: plane.port, host: "127.0.0.1", allowHalfOpen: true });
  sockets.push(socket);
  socket.on("error", () => {});
  await once(socket, "connect");
  socket.write(text);
  return socket;
}

async function expectReleased(): Promise<void> {
  await expect.poll(() => plane.open.size, { timeout: 5000 }).toBe(0);
  await expect
    .poll(() => backend.connections.filter(({ end }) => end === "").length, { timeout: 5000 })
    .toBe(0);
}

describe.each(LEAVES)("%s", (leave) => {
  test("while the head of the answer is awaited", async () => {
    await start();
    const all = await Promise.all(Array.from({ length: 50 }, () => client(GET)));
    await expect.poll(() => backend.requests.length).toBe(50);
    for (const socket of all) socket[leave]();
    await expectReleased();
  });

  test("behind pipelined requests: none of them is begun", async () => {
    await start();
    const socket = await client(GET.repeat(100));
    await expect.poll(() => backend.requests.length).toBe(1);
    socket[leave]();
    await expectReleased();
    expect(backend.requests).toHaveLength(1);
  });

  test("behind more than is read ahead", async () => {
    await start();
    const socket = await client(GET.repeat(2000));
    await expect.poll(() => backend.requests.length).toBe(1);
    socket[leave]();
    await expectReleased();
    expect(backend.requests).toHaveLength(1);
  });

  test("with half of its body sent", async () => {
    await start();
    const socket = await client(`${UPLOAD}hello`);
    await expect.poll(() => backend.bytes.endsWith("hello")).toBe(true);
    socket[leave]();
    await expectReleased();
  });

  test("while the backend does not take the body", async () => {
    backend.raw = (connection) => {
      connection.socket.pause();
      return true;
    };
    await start();
    const socket = await client(UPLOAD);
    await expect.poll(() => backend.connections.length).toBe(1);
    // Not more than the proxy's kernel takes: behind bytes that cannot be sent, FIN cannot be sent either.
    const piece = Buffer.alloc(64 * 1024);
    const paused = () => [...plane.open].some((c) => c.socket.isPaused());
    while (!paused()) await new Promise((sent) => socket.write(piece, sent));
    socket[leave]();
    await expect.poll(() => plane.open.size, { timeout: 5000 }).toBe(0);
    backend.raw = () => true;
    backend.connections[0]!.socket.resume();
    await expectReleased();
  });

  test("in the middle of the answer", async () => {
    backend.reply = (_request, connection) =>
      void connection.socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
    await start();
    const socket = await client(GET);
    await once(socket, "data");
    socket[leave]();
    await expectReleased();
  });

  test("without having read an answer that is larger than what buffers hold", async () => {
    backend.reply = (_request, connection) => {
      connection.socket.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
      for (let i = 0; i < 50; i++) connection.socket.write(Buffer.alloc(1 << 20));
    };
    await start();
    const socket = connect({ port: plane.port, host: "127.0.0.1", allowHalfOpen: true }).pause();
    sockets.push(socket);
    socket.on("error", () => {});
    socket.write(GET);
    await expect.poll(() => [...plane.open].some((c) => c.socket.writableNeedDrain)).toBe(true);
    socket[leave]();
    await expectReleased();
  });

  test("while an injected delay runs, or an upgrade is undecided", async () => {
    await start({ fault: { delay: { percentage: { numerator: 100 }, faultDelaySecifier: delayOf(600) } } });
    const delayed = await client(GET);
    await expect.poll(() => [...plane.open].some((c) => c.exchange !== null)).toBe(true);
    delayed[leave]();
    await expectReleased();
    expect(backend.requests).toEqual([]);
    await plane.stop();
    await start();
    const upgrade = await client(
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    await expect.poll(() => backend.bytes).toContain("websocket");
    upgrade[leave]();
    await expectReleased();
  });
});

const delayOf = (seconds: number) => ({
  case: "fixedDelay" as const,
  value: { seconds: BigInt(seconds), nanos: 0 },
});

test("who ends its side still reads: half an answer is reset, of none nothing comes", async () => {
  await start();
  const none = await talk(plane.port, [Buffer.from(GET)], { finAfter: 0 });
  expect(none).toMatchObject({ answers: [], rest: "", end: "fin" });
  backend.reply = (_request, connection) =>
    void connection.socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
  const half = await client(GET);
  await once(half, "data");
  half.end();
  expect((await once(half, "error"))[0].code).toBe("ECONNRESET");
});

test("an answer that is on its way when the client ends its side arrives whole", async () => {
  const body = "x".repeat(200_000);
  backend.reply = (_request, connection) =>
    void connection.socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  await start();
  const socket = connect({ port: plane.port, host: "127.0.0.1", allowHalfOpen: true }).pause();
  sockets.push(socket);
  socket.write(GET);
  await expect.poll(() => backend.requests.length).toBe(1);
  await expect.poll(() => [...plane.open].every((c) => c.exchange === null)).toBe(true);
  socket.end();
  let text = "";
  socket.setEncoding("latin1").on("data", (more: string) => {
    text += more;
  });
  socket.resume();
  await once(socket, "end");
  expect(readAnswers(text, []).answers.map((a) => a.body.length)).toEqual([body.length]);
  await expect.poll(() => plane.open.size).toBe(0);
});
