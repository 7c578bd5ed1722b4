import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { TLSSocket, connect as tlsConnect } from "node:tls";
import { afterEach, expect, test } from "vitest";
import { DownstreamConnection } from "./downstream.ts";
import { Verdict } from "./errors.ts";
import { type Exchange, type ExchangeHandler, NO_RETRY } from "./exchange.ts";
import { HostPool } from "./pool.ts";
import { READ_BY_CALLBACK } from "./read-buffer.ts";
import { HeadEdits } from "./write-head.ts";

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

async function listen(onConnection: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, onConnection);
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** A backend that logs bytes and answers each request that ends in an empty line, and a proxy before it. */
async function mesh(
  reply: string,
  upgrade = false,
  secure: (socket: Socket) => Socket = (s) => s,
  maxRequests = 0,
) {
  const log: string[] = [];
  let connections = 0;
  const backend = await listen((socket) => {
    connections++;
    socket.on("error", () => {});
    socket.on("data", (data) => {
      log.push(data.toString("latin1"));
      for (let i = 0; i < data.toString("latin1").split(" HTTP/1.1\r\n").length - 1; i++) socket.write(reply);
    });
    socket.on("end", () => socket.end());
  });
  const pool = new HostPool({
    connect: (connection) => {
      const socket = connect({ port: backend, host: "127.0.0.1", noDelay: true, onread: READ_BY_CALLBACK });
      socket.once("connect", () => connection.onOpen(socket));
      socket.on("error", () => connection.fail(Verdict.ConnectFailure));
    },
    maxIdle: 4,
    idleTimeoutMs: 60_000,
    maxRequests,
  });
  const handler: ExchangeHandler = {
    onRequest: (exchange: Exchange) => {
      if (upgrade) exchange.upgrade = exchange.request.upgrade;
      exchange.forward(pool);
    },
    onResponse: () => NO_RETRY,
    onAttemptFailed: () => NO_RETRY,
    onRetry: () => {},
    onComplete: () => {},
  };
  const port = await listen(
    (s) => void new DownstreamConnection(secure(s), handler, { headTimeoutMs: 5_000, lingerMs: 50 }),
  );
  return { port, log, pool, connections: () => connections };
}

/** Sends the pieces and resolves with all that came back once `until` holds or the connection ends. */
async function talk(
  port: number,
  pieces: readonly string[],
  until: (got: string) => boolean,
): Promise<string> {
  const socket = connect(port, "127.0.0.1").setNoDelay();
  let got = "";
  const over = new Promise<void>((resolve) => {
    socket.on("data", (data) => {
      got += data.toString("latin1");
      if (until(got)) resolve();
    });
    socket.on("close", () => resolve());
    socket.on("error", () => resolve());
  });
  for (const piece of pieces) socket.write(piece, "latin1");
  await over;
  socket.destroy();
  return got;
}

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

test("re-serialises, pools, and answers pipelined requests in order", async () => {
  const { port, log, pool } = await mesh(OK);
  const get = "GET /a HTTP/1.1\r\nHost: a\r\nConnection: x-foo\r\nX-Foo: 1\r\nX-Bar:  2\r\n\r\n";
  const got = await talk(port, [get + get + get], (text) => text.split("hi").length === 4);
  expect(got.split("HTTP/1.1 200 OK")).toHaveLength(4);
  expect(log).toEqual(Array(3).fill("GET /a HTTP/1.1\r\nhost: a\r\nx-bar: 2\r\n\r\n"));
  expect(pool.open).toBe(1);
});

test("maxRequestsPerConnection: a connection ends after so many", async () => {
  const { port, pool, connections } = await mesh(OK, false, (s) => s, 2);
  const five = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n".repeat(5);
  await talk(port, [five], (got) => got.split("HTTP/1.1 200").length === 6);
  expect(connections()).toBe(3);
  expect(pool.open).toBe(1);
});

test("a chunked body reaches the backend chunked, without extensions or trailers", async () => {
  const { port, log } = await mesh(OK);
  await talk(
    port,
    ["POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"],
    (text) => text.endsWith("hi"),
  );
  expect(log.join("")).toBe(
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
  );
});

test.each([
  ["124 two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi", "502"],
  ["119 unasked 101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "502"],
  ["132 status 099", "HTTP/1.1 099 X\r\n\r\n", "502"],
  ["129 surplus bytes", `${OK}${OK}`, "200"],
])("upstream fault %s", async (_name, reply, status) => {
  const { port, pool } = await mesh(reply);
  const got = await talk(port, ["GET / HTTP/1.1\r\nHost: a\r\n\r\n"], (text) => text.includes("\r\n\r\n"));
  expect(got).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  expect(pool.idle).toHaveLength(0);
});

test("130 over TLS: half an answer ends in a reset, and the proxy lives on", async () => {
  const psk = Buffer.alloc(16, 7);
  const suite = { ciphers: "PSK", maxVersion: "TLSv1.2" as const };
  const broken = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZ\r\n";
  const { port } = await mesh(
    broken,
    false,
    (raw) => new TLSSocket(raw, { isServer: true, ...suite, pskCallback: () => psk } as never),
  );
  for (let i = 0; i < 2; i++) {
    const client = tlsConnect({
      port,
      ...suite,
      pskCallback: () => ({ psk, identity: "a" }),
      checkServerIdentity: () => undefined,
    });
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.resume();
    expect((await once(client, "error"))[0].code).toBe("ECONNRESET");
  }
});

test("140: a good request is answered before the 400 for what follows", async () => {
  const { port, log } = await mesh(OK);
  const got = await talk(port, ["GET / HTTP/1.1\r\nHost: a\r\n\r\nGARBAGE\r\n\r\n"], () => false);
  expect(got).toMatch(/200 OK[\s\S]*hiHTTP\/1.1 400 [\s\S]*connection: close/);
  expect(log).toHaveLength(1);
});

test("116: bytes before a real 101 are held, then tunnelled", async () => {
  const { port, log } = await mesh("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", true);
  const head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
  await talk(port, [`${head}early`], (text) => text.includes("101"));
  await expect.poll(() => log.length).toBe(2);
  expect(log[1]).toBe("early");
});

test("123: a value from a certificate or SNI cannot end the line of a local answer", async () => {
  const handler: ExchangeHandler = {
    onRequest: (exchange: Exchange) => {
      exchange.responseEdits = new HeadEdits();
      exchange.responseEdits.add("x-peer", "a\r\nset-cookie: stolen=1");
      exchange.respond(403, "rbac_access_denied", "RBAC: access denied");
    },
    onResponse: () => NO_RETRY,
    onAttemptFailed: () => NO_RETRY,
    onRetry: () => {},
    onComplete: () => {},
  };
  const port = await listen(
    (s) => void new DownstreamConnection(s, handler, { headTimeoutMs: 5_000, lingerMs: 50 }),
  );
  const got = await talk(port, ["GET / HTTP/1.1\r\nHost: a\r\n\r\n"], (text) => text.endsWith("denied"));
  expect(got).toMatch(/^HTTP\/1\.1 403 /);
  expect(got.split("\r\n").filter((line) => line.startsWith("set-cookie"))).toEqual([]);
});
