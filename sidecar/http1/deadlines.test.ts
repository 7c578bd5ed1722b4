import { once } from "node:events";
import { type AddressInfo, connect, createServer, Server, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { TestClock } from "#lib/clock.ts";
import type { ConnectionLimits } from "./deadlines.ts";
import { DownstreamConnection } from "./downstream.ts";
import { Verdict } from "./errors.ts";
import { type Exchange, NO_RETRY } from "./exchange.ts";
import { HostPool } from "./pool.ts";
import { Sweep } from "./sweep.ts";

const ends: (Server | Socket)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end instanceof Server ? end.close() : end.destroy();
});

async function listen(onConnection: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, onConnection).listen(0, "127.0.0.1");
  ends.push(server);
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n";
const MINUTE = 60_000;

interface StreamLimits {
  readonly streamIdleMs?: number;
  readonly requestTimeoutMs?: number;
  readonly maxDurationMs?: number;
  readonly timeoutMs?: number;
}

/** A client of a proxy whose time moves by hand; the backend says what the test says. */
async function world(limits: Partial<ConnectionLimits>, stream: StreamLimits = {}) {
  const clock = new TestClock();
  const sweep = new Sweep(clock);
  const over: Exchange[] = [];
  const begun: Exchange[] = [];
  const backends: Socket[] = [];
  let atBackend = "";
  const backend = await listen((socket) => {
    backends.push(socket);
    socket.on("error", () => {});
    socket.on("data", (data) => {
      atBackend += data.toString("latin1");
    });
  });
  const pool = new HostPool({
    connect: (connection) => {
      const socket = connect(backend, "127.0.0.1").setNoDelay();
      socket.once("connect", () => connection.onOpen(socket));
      socket.on("error", () => connection.fail(Verdict.ConnectFailure));
    },
    maxIdle: 4,
    idleTimeoutMs: MINUTE,
    maxRequests: 0,
  });
  const port = await listen(
    (socket) =>
      new DownstreamConnection(
        socket,
        {
          onRequest: (exchange) => {
            Object.assign(exchange, stream);
            exchange.upgrade = exchange.request.upgrade;
            begun.push(exchange);
            exchange.forward(pool);
          },
          onResponse: () => NO_RETRY,
          onAttemptFailed: () => NO_RETRY,
          onRetry: () => {},
          onComplete: (exchange) => void over.push(exchange),
        },
        {
          headTimeoutMs: 5000,
          lingerMs: 50,
          limits: { idleTimeoutMs: 0, maxDurationMs: 0, ...limits },
          sweep,
        },
      ),
  );
  const client = connect({ port, host: "127.0.0.1", allowHalfOpen: true }).setNoDelay();
  ends.push(client);
  await once(client, "connect");
  let got = "";
  let end = "";
  client.on("data", (data) => {
    got += data.toString("latin1");
  });
  client.on("end", () => {
    end ||= "end";
  });
  client.on("error", () => {
    end ||= "reset";
  });
  client.on("close", () => {
    end ||= "close";
  });
  return {
    clock,
    over,
    begun,
    client,
    got: () => got,
    end: () => end,
    /** What the client says has reached the backend. */
    async send(text: string, until: string): Promise<Socket> {
      atBackend = "";
      client.write(text);
      await expect.poll(() => atBackend.endsWith(until)).toBe(true);
      return backends[0]!;
    },
    async answered(what: string): Promise<void> {
      await expect.poll(() => got.endsWith(what)).toBe(true);
    },
  };
}

test("idle_timeout: a kept connection without a request is closed, one with a request is not", async () => {
  const { clock, send, answered, end, got } = await world({ idleTimeoutMs: MINUTE });
  const backend = await send(GET, "\r\n\r\n");
  clock.advance(10 * MINUTE);
  backend.write(OK);
  await answered("hi");
  clock.advance(MINUTE - 2000);
  (await send(GET, "\r\n\r\n")).write(OK);
  await expect.poll(() => got().split("200 OK").length).toBe(3);
  expect(end()).toBe("");
  clock.advance(MINUTE + 2000);
  await expect.poll(end).toBe("end");
});

test("max_connection_duration: the exchange under way is answered, with Connection: close", async () => {
  const { clock, send, answered, end, got } = await world({ maxDurationMs: MINUTE });
  (await send(GET, "\r\n\r\n")).write(OK);
  await answered("hi");
  expect(got()).not.toContain("connection: close");
  const backend = await send(GET, "\r\n\r\n");
  clock.advance(MINUTE + 1000);
  backend.write(OK);
  await expect.poll(end).toBe("end");
  expect(got().split("200 OK")).toHaveLength(3);
  expect(got()).toContain("connection: close");
});

test("max_connection_duration: without an exchange the connection is closed", async () => {
  const { clock, send, answered, end } = await world({ maxDurationMs: MINUTE });
  (await send(GET, "\r\n\r\n")).write(OK);
  await answered("hi");
  clock.advance(MINUTE + 1000);
  await expect.poll(end).toBe("end");
});

test("stream_idle_timeout: 408 while the request is waited for", async () => {
  const { clock, send, end, got, over } = await world({}, { streamIdleMs: MINUTE });
  await send(`${POST}01`, "01");
  clock.advance(MINUTE - 2000);
  await send("23", "23");
  clock.advance(MINUTE - 2000);
  expect(over).toEqual([]);
  clock.advance(4000);
  await expect.poll(end).toBe("end");
  expect(got()).toMatch(/^HTTP\/1\.1 408 [\s\S]*stream timeout$/);
  expect(over).toMatchObject([{ status: 408, detail: "stream_idle_timeout" }]);
});

test("stream_idle_timeout: 504 while the answer is waited for, and the connection stays", async () => {
  const { clock, send, answered, end, got, over } = await world({}, { streamIdleMs: MINUTE });
  await send(GET, "\r\n\r\n");
  clock.advance(MINUTE + 2000);
  await answered("stream timeout");
  expect(got()).toMatch(/^HTTP\/1\.1 504 /);
  expect(over).toMatchObject([{ status: 504, detail: "stream_idle_timeout" }]);
  expect(end()).toBe("");
});

test("stream_idle_timeout: an answer that stops is reset, one that trickles is not", async () => {
  const { clock, send, answered, end, over } = await world({}, { streamIdleMs: MINUTE });
  const backend = await send(GET, "\r\n\r\n");
  backend.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
  for (const piece of ["a", "b", "c"]) {
    backend.write(piece);
    await answered(piece);
    clock.advance(MINUTE - 2000);
  }
  expect(over).toEqual([]);
  clock.advance(4000);
  await expect.poll(end).toBe("reset");
  expect(over).toMatchObject([{ status: 200, detail: "stream_idle_timeout" }]);
});

test("stream_idle_timeout: a tunnel that is silent ends", async () => {
  const { clock, send, answered, end } = await world({}, { streamIdleMs: MINUTE });
  const backend = await send(
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "\r\n\r\n",
  );
  backend.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nping");
  await answered("ping");
  clock.advance(MINUTE - 2000);
  await send("pong", "pong");
  clock.advance(MINUTE - 2000);
  backend.write("still");
  await answered("still");
  clock.advance(MINUTE + 2000);
  await expect.poll(end).not.toBe("");
});

test("request_timeout: a body that trickles does not keep its request alive", async () => {
  const { clock, send, end, got, over } = await world({}, { requestTimeoutMs: MINUTE, streamIdleMs: MINUTE });
  for (const piece of [`${POST}0`, "1", "2"]) {
    await send(piece, piece.slice(-1));
    clock.advance(MINUTE / 4);
  }
  expect(over).toEqual([]);
  clock.advance(MINUTE / 4 + 2000);
  await expect.poll(end).toBe("end");
  expect(got()).toMatch(/^HTTP\/1\.1 408 [\s\S]*connection: close[\s\S]*request timeout$/);
  expect(over).toMatchObject([{ status: 408, detail: "request_overall_timeout" }]);
});

test("request_timeout is over with the request", async () => {
  const { clock, send, answered } = await world({}, { requestTimeoutMs: MINUTE });
  const backend = await send(`${POST}0123456789`, "0123456789");
  clock.advance(10 * MINUTE);
  backend.write(OK);
  await answered("hi");
});

test("max_stream_duration: bytes do not prolong it", async () => {
  const { clock, send, answered, over } = await world({}, { maxDurationMs: MINUTE });
  await send(GET, "\r\n\r\n");
  clock.advance(MINUTE + 2000);
  await answered("downstream duration timeout");
  expect(over).toMatchObject([{ status: 504, detail: "max_duration_timeout" }]);
});

test("the timeout of a route: an answer under way is reset, and is no success in the log", async () => {
  const { send, end, over } = await world({}, { timeoutMs: 300 });
  const backend = await send(GET, "\r\n\r\n");
  backend.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
  await expect.poll(end).toBe("reset");
  expect(over).toMatchObject([{ status: 200, detail: "response_timeout" }]);
});
