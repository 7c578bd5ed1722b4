/** What happens on connections that are kept: closed by their host between two requests, or answered on before a request is over. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
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
function atSecond(then: (socket: import("node:net").Socket) => void): void {
  backend.reply = ({ method }, { socket, log }) => {
    if (log.split(" HTTP/1.1\r\n").length > 2) then(socket);
    else socket.write(method === "HEAD" ? OK.slice(0, -2) : OK);
  };
}
const count = (path: string): number => backend.requests.filter(({ target }) => target === path).length;

describe("without a retry policy, a kept connection that ends before a byte of an answer", () => {
  test.each([
    ["GET", "", 200, 2],
    ["HEAD", "", 200, 2],
    ["OPTIONS", "", 200, 2],
    ["POST", "hi", 503, 1],
    ["PUT", "hi", 503, 1],
    ["DELETE", "", 503, 1],
    ["GET", "hi", 503, 1],
  ])("%s %j: %d, and the backend sees it %d times at most", async (method, body, status, most) => {
    for (const end of ["end", "destroy", "resetAndDestroy"] as const) {
      atSecond((socket) => void socket[end]());
      await start();
      expect(await statusOf(ask("GET", "/first"))).toBe(200);
      expect(await statusOf(ask(method, `/${end}`, body), [method])).toBe(status);
      expect(count(`/${end}`)).toBe(most);
      await plane.stop();
    }
  });

  test("all kept ones are dead: the second try takes a new one", async () => {
    backend.reply = (_request, { socket, log }) => {
      if (log.split(" HTTP/1.1\r\n").length > 2) socket.destroy();
      else setTimeout(() => socket.write(OK), 30); // so that four connections are needed, and kept
    };
    await start();
    await Promise.all([1, 2, 3, 4].map((n) => statusOf(ask("GET", `/${n}`))));
    expect(backend.connections).toHaveLength(4);
    expect(await statusOf(ask("GET", "/again"))).toBe(200);
  });

  test("is tried again once: a host that always hangs up gives 503", async () => {
    let served = false;
    backend.reply = (_request, { socket }) => {
      if (served) socket.destroy();
      else socket.write(OK);
      served = true;
    };
    await start();
    await statusOf(ask("GET", "/first"));
    expect(await statusOf(ask("GET", "/again"))).toBe(503);
    expect(count("/again")).toBe(2);
  });

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
