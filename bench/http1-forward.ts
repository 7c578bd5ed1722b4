/** CPU per request of parse and forward over loopback: client, proxy and backend in one process, with and without the proxy. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { NO_RETRY } from "#sidecar/http1/exchange.ts";
import { DownstreamConnection } from "../sidecar/http1/downstream.ts";
import type { Exchange, ExchangeHandler } from "../sidecar/http1/exchange.ts";
import { HostPool } from "../sidecar/http1/pool.ts";

const CONNECTIONS = 64;
const REQUESTS = 60_000;
const GET = "GET /bench HTTP/1.1\r\nHost: a\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello";

async function listen(onConnection: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, onConnection).listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

async function cpuPerRequestUs(port: number): Promise<number> {
  let left = REQUESTS;
  const before = process.cpuUsage();
  const run = (): Promise<void> =>
    new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1", () => socket.write(GET)).setNoDelay();
      socket.on("data", (data) => {
        if (!data.toString("latin1").endsWith("hello")) return;
        if (--left > 0) socket.write(GET);
        else socket.end();
        if (left <= 0) resolve();
      });
    });
  await Promise.race(Array.from({ length: CONNECTIONS }, run));
  const used = process.cpuUsage(before);
  return (used.user + used.system) / REQUESTS;
}

const backend = await listen((s) => void s.on("data", () => s.write(OK)).on("error", () => {}));
const pool = new HostPool({
  connect: (connection) => {
    const socket = connect(backend, "127.0.0.1").setNoDelay();
    socket.once("connect", () => connection.onOpen(socket));
  },
  maxIdle: 128,
  idleTimeoutMs: 60_000,
  maxRequests: 0,
});
const handler: ExchangeHandler = {
  onRequest: (exchange: Exchange) => exchange.forward(pool),
  onResponse: () => NO_RETRY,
  onAttemptFailed: () => NO_RETRY,
  onRetry: () => {},
  onComplete: () => {},
};
const proxy = await listen(
  (s) => void new DownstreamConnection(s, handler, { headTimeoutMs: 5000, lingerMs: 50 }),
);
for (let round = 0; round < 3; round++) {
  const direct = await cpuPerRequestUs(backend);
  const through = await cpuPerRequestUs(proxy);
  console.log(
    `direct ${direct.toFixed(1)} us, through ${through.toFixed(1)} us, proxy ${(through - direct).toFixed(1)} us per request`,
  );
}
process.exit(0);
