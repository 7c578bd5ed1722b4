/** What happens on connections that are kept: closed by their host between two requests, or answered on before a request is over. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Backend } from "./backend.ts";
import { talk } from "./client.ts";
import { type Plane, type PlaneOptions, startPlane } from "./plane.ts";

let backend: Backend;
let plane: Plane;
beforeEach(async () => {
  backend = await new Backend().listen();
});
afterEach(async () => {
  await plane.stop();
  backend.close();
});
const start = async (options: Partial<PlaneOptions> = {}): Promise<void> => {
  plane = await startPlane({ backendPort: backend.port, ...options });
};

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
const ask = (method: string, path: string, body = ""): Buffer =>
  Buffer.from(
    `${method} ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${body === "" ? "" : `Content-Length: ${body.length}\r\n`}\r\n${body}`,
  );
const statusOf = async (message: Buffer, methods: string[] = []): Promise<number | undefined> =>
  (await talk(plane.port, [message], { methods })).answers.at(-1)?.status;

/** Connections answer their first request, and do at the second what `then` says. */
function atSecond(then: (socket: Socket) => void): void {
  backend.reply = ({ method }, { socket, log }) => {
    if (log.split(" HTTP/1.1\r\n").length > 2) then(socket);
    else socket.write(method === "HEAD" ? OK.slice(0, -2) : OK);
  };
}
const count = (path: string): number => backend.requests.filter(({ target }) => target === path).length;

describe("without a retry policy, on a kept connection", () => {
  test.each(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST"])(
    "%s that the host has read, and left unanswered, is 503 and is not sent again",
    async (method) => {
      for (const end of ["end", "destroy"] as const) {
        atSecond((socket) => void socket[end]());
        await start();
        expect(await statusOf(ask("GET", "/first"))).toBe(200);
        expect(await statusOf(ask(method, `/${end}`, method.startsWith("P") ? "hi" : ""), [method])).toBe(
          503,
        );
        expect(count(`/${end}`)).toBe(1);
        await plane.stop();
      }
    },
  );

  /** The host closes each of its kept connections without having read what lies there. */
  async function leaveUnread(message: Buffer, method: string): Promise<number | undefined> {
    backend.reply = ({ method: asked }, { socket }) => {
      // pause() alone goes on reading, into the stream's buffer.
      (socket as unknown as { _handle: { readStop(): void } })._handle.readStop();
      socket.pause();
      socket.write(asked === "HEAD" ? OK.slice(0, -2) : OK);
    };
    await start();
    expect(await statusOf(ask("GET", "/first"))).toBe(200);
    const kept = backend.connections[0]!.socket;
    await expect.poll(() => kept.isPaused()).toBe(true);
    const status = statusOf(message, [method]);
    await expect.poll(() => unreadBytes(kept)).toBeGreaterThan(0);
    kept.destroy();
    return status;
  }
  test.each([
    ["GET", "", 200, 1],
    ["HEAD", "", 200, 1],
    ["OPTIONS", "", 200, 1],
    ["POST", "hi", 503, 0],
    ["PUT", "hi", 503, 0],
    ["DELETE", "", 503, 0],
    ["GET", "hi", 503, 0],
  ])("%s %j that lies unread when the host closes: %d", async (method, body, status, times) => {
    expect(await leaveUnread(ask(method, "/again", body), method)).toBe(status);
    expect(count("/again")).toBe(times);
  });

  test.each(["GET", "POST"])(
    "%s that crosses with the close: answered from a new connection",
    async (method) => {
      backend.reply = (_request, { socket }) => void socket.write(OK);
      await start();
      const client = connect(plane.port, "127.0.0.1").setNoDelay();
      let got = "";
      client.on("data", (data) => {
        got += data.toString("latin1");
      });
      for (let i = 1; i <= 20; i++) {
        // More than the time after which a POST looks before it is sent.
        const from = performance.now();
        await expect.poll(() => performance.now() - from).toBeGreaterThan(25);
        const body = method === "POST" ? "hi" : "";
        client.write(`${method} /${i} HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
        // In the same turn: the proxy finds both at once, the request first.
        for (const { socket } of backend.connections) socket.destroy();
        await expect.poll(() => got.split("HTTP/1.1 ").length).toBe(i + 1);
        expect(count(`/${i}`)).toBe(1);
      }
      expect(got.match(/HTTP\/1.1 \d+/g)).toEqual(Array(20).fill("HTTP/1.1 200"));
      client.destroy();
    },
  );

  test("408 that a host says when it closes an idle connection is not the answer", async () => {
    atSecond(
      (socket) => void socket.end("HTTP/1.1 408 Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
    );
    await start();
    await statusOf(ask("GET", "/first"));
    expect(await statusOf(ask("GET", "/again"))).toBe(200);
    expect(await statusOf(ask("POST", "/post", "hi"))).toBe(408);
  });
});

test("a host's Keep-Alive: timeout is heard: shortly before it is over the connection is not taken", async () => {
  backend.reply = (_request, { socket }) =>
    void socket.write("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n");
  await start();
  await statusOf(ask("POST", "/1", "hi"));
  await statusOf(ask("POST", "/2", "hi"));
  expect(backend.connections).toHaveLength(1);
  const kept = performance.now();
  await expect.poll(() => performance.now() - kept, { timeout: 2000 }).toBeGreaterThan(600);
  await statusOf(ask("POST", "/3", "hi"));
  expect(backend.connections).toHaveLength(2);
});

test("an app that closes idle connections early: no GET fails, and no POST arrives twice", async () => {
  const seen = new Map<string, number>();
  const app = createServer((request, response) => {
    seen.set(request.url!, (seen.get(request.url!) ?? 0) + 1);
    request.resume().on("end", () => response.end("hi"));
  });
  app.keepAliveTimeout = 40;
  app.keepAliveTimeoutBuffer = 0;
  app.on("connection", (socket) => socket.setNoDelay());
  app.prependListener("request", (_request, response) => response.setHeader("connection", "keep-alive")); // no hint
  await new Promise<void>((done) => app.listen(0, "127.0.0.1", done));
  await start({ backendPort: (app.address() as AddressInfo).port });
  const failed: string[] = [];
  for (let i = 0; i < 60; i++) {
    const wait = 37 + (i % 7);
    const from = performance.now();
    await Promise.all(
      ["GET", "POST"].map(async (method) => {
        const status = await statusOf(ask(method, `/${method}${i}`, method === "POST" ? "hi" : ""));
        if (status !== 200) failed.push(`${method}${i} ${status}`);
      }),
    );
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, wait - (performance.now() - from) / 2)));
  }
  expect(failed.filter((text) => text.startsWith("GET"))).toEqual([]);
  expect([...seen].filter(([path, times]) => path.startsWith("/POST") && times > 1)).toEqual([]);
  app.close();
  app.closeAllConnections();
});

describe("an early answer", () => {
  test.each([200_000, 5_000_000])(
    "413 and a close while %d bytes are coming: the client gets it, every time",
    async (bytes) => {
      // In a thread of its own: it closes while the proxy is busy writing.
      const app = new Worker(
        `require("node:net").createServer((socket) => {
        socket.on("error", () => {});
        socket.once("data", () => {
          socket.write("HTTP/1.1 413 Payload Too Large\\r\\nContent-Length: 3\\r\\nConnection: close\\r\\n\\r\\nbig");
          socket.destroySoon();
        });
      }).listen(0, "127.0.0.1", function () { require("node:worker_threads").parentPort.postMessage(this.address().port); })`,
        { eval: true },
      );
      const [backendPort] = (await once(app, "message")) as [number];
      await start({ backendPort });
      const head = Buffer.from(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${bytes}\r\n\r\n`);
      const pieces = [head, Buffer.alloc(bytes)];
      const statuses: number[] = [];
      for (let i = 0; i < 60; i++)
        statuses.push(
          (await talk(plane.port, pieces, { until: (got) => got.length > 0 })).answers[0]?.status ?? 0,
        );
      expect(statuses).toEqual(Array(60).fill(413));
      await app.terminate();
    },
  );
});

/** What lies in the kernel for a socket that is not read (Linux: /proc/net/tcp, rx_queue). */
function unreadBytes(socket: Socket): number {
  const port = (number: number): string => number.toString(16).toUpperCase().padStart(4, "0");
  const ends = new RegExp(
    `:${port(socket.localPort!)} [0-9A-F]+:${port(socket.remotePort!)} 01 [0-9A-F]+:([0-9A-F]+)`,
  );
  return Number.parseInt(ends.exec(readFileSync("/proc/net/tcp", "utf8"))?.[1] ?? "0", 16);
}
