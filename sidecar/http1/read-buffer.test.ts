/** Every upstream is read into the same buffer: whatever is kept of it must survive the reads of the others. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { DownstreamConnection } from "./downstream.ts";
import { Verdict } from "./errors.ts";
import { type Exchange, NO_RETRY } from "./exchange.ts";
import { HostPool } from "./pool.ts";
import { READ_BY_CALLBACK, readAccepted } from "./read-buffer.ts";
import type { ResponseHead } from "./response-head.ts";

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

async function listen(onConnection: (socket: Socket) => void, pauseOnConnect = false): Promise<number> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect }, onConnection).listen(0, "127.0.0.1");
  servers.push(server);
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

async function proxyTo(
  backend: number,
  onComplete: (exchange: Exchange, head: ResponseHead) => void = () => {},
) {
  const pool = new HostPool({
    connect: (connection) => {
      const socket = connect({ port: backend, host: "127.0.0.1", onread: READ_BY_CALLBACK });
      socket.once("connect", () => connection.onOpen(socket));
      socket.on("error", () => connection.fail(Verdict.ConnectFailure));
    },
    maxIdle: 16,
    idleTimeoutMs: 60_000,
    maxRequests: 0,
  });
  return listen((accepted) => {
    const socket = readAccepted(accepted);
    expect(socket).not.toBe(accepted); // this Node still has what it takes
    let head: ResponseHead | null = null;
    const handler = {
      onRequest: (exchange: Exchange) => {
        exchange.upgrade = exchange.request.upgrade;
        exchange.forward(pool);
      },
      onResponse: (_: Exchange, seen: ResponseHead) => {
        head = seen;
        return NO_RETRY;
      },
      onAttemptFailed: () => NO_RETRY,
      onRetry: () => {},
      onComplete: (exchange: Exchange) => onComplete(exchange, head!),
    };
    new DownstreamConnection(socket, handler, { headTimeoutMs: 5_000, lingerMs: 50 });
  }, true);
}

test("bodies of many connections, of which one is not read until the others are: none has bytes of another", async () => {
  // More than the kernel takes off our hands for a reader that does not read.
  const BYTES = 12 << 20;
  const backend = await listen((socket) => {
    socket.on("error", () => {});
    socket.on("data", (data) => {
      const letter = String(data).charAt(5);
      const head = `HTTP/1.1 200 OK\r\nX-Letter: ${letter}\r\n`;
      if (letter < "C") socket.write(`${head}Content-Length: ${BYTES}\r\n\r\n${letter.repeat(BYTES)}`);
      else {
        socket.write(`${head}Transfer-Encoding: chunked\r\n\r\n`);
        const size = 48 * 1024;
        for (let sent = 0; sent < BYTES; sent += size)
          socket.write(`${size.toString(16)}\r\n${letter.repeat(size)}\r\n`);
        socket.write("0\r\n\r\n");
      }
    });
  });
  const letters: string[] = [];
  const port = await proxyTo(backend, (_, head) => letters.push(head.get("x-letter") ?? ""));
  const ask = (letter: string): Socket => {
    const socket = connect(port, "127.0.0.1").setNoDelay();
    socket.write(`GET /${letter} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    return socket;
  };
  const read = async (letter: string, socket: Socket): Promise<void> => {
    let [own, other, head] = [0, 0, ""];
    for await (const piece of socket) {
      let bytes = piece as Buffer;
      if (!head.includes("\r\n\r\n")) {
        head += bytes.toString("latin1");
        bytes = Buffer.from(head.slice(head.indexOf("\r\n\r\n") + 4), "latin1");
      }
      const foreign = letter < "C" ? bytes.toString("latin1").replaceAll(letter, "") : "";
      own += bytes.length - foreign.length;
      other += foreign.length;
    }
    expect([own >= BYTES, other]).toEqual([true, 0]);
  };
  const unread = ask("A");
  await once(unread, "readable");
  await Promise.all(["B", "C", "D"].map((letter) => read(letter, ask(letter))));
  await read("A", unread);
  expect(letters.sort().join("")).toBe("ABCD");
});

test("a head in two reads, with another response in between", async () => {
  const held: Socket[] = [];
  const backend = await listen((socket) => {
    socket.on("error", () => {});
    socket.on("data", (data) => {
      if (!String(data).includes("/slow"))
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-What: fast\r\n\r\nyes");
      else socket.write("HTTP/1.1 200 OK\r\nX-What: sl", () => held.push(socket));
    });
  });
  const port = await proxyTo(backend);
  const slow = connect(port, "127.0.0.1").setNoDelay();
  slow.write("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
  await expect.poll(() => held.length).toBe(1);
  const fast = connect(port, "127.0.0.1").setNoDelay();
  fast.write("GET /fast HTTP/1.1\r\nHost: a\r\n\r\n");
  expect(String((await once(fast, "data"))[0])).toContain("x-what: fast");
  held[0]!.write("ow\r\nContent-Length: 2\r\n\r\nhi");
  expect(String((await once(slow, "data"))[0])).toContain("x-what: slow");
  fast.destroy();
  slow.destroy();
});

test("a tunnel carries bytes both ways, with backpressure", async () => {
  const BYTES = 2 << 20;
  const backend = await listen((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => {
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\nearly");
      socket.pipe(socket);
    });
  });
  const port = await proxyTo(backend);
  const socket = connect(port, "127.0.0.1").setNoDelay();
  socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n");
  let got = "";
  for await (const piece of socket) {
    const before = got.length;
    got += (piece as Buffer).toString("latin1");
    if (before === 0) socket.write("z".repeat(BYTES));
    if (got.endsWith("z") && got.length >= BYTES + got.indexOf("early") + 5) break;
  }
  expect(got.slice(got.indexOf("\r\n\r\n") + 4)).toBe(`early${"z".repeat(BYTES)}`);
});

test("requests outlive the buffer too: heads wait for their upstream, pipelined ones for their turn", async () => {
  const seen: string[] = [];
  const backend = await listen((socket) => {
    socket.on("error", () => {});
    socket.on("data", (data) => {
      seen.push(/x-id: (\S+)/.exec(String(data))?.[1] ?? String(data));
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    });
  });
  const port = await proxyTo(backend);
  const sockets = [..."abcdefgh"].map((c) => {
    const socket = connect(port, "127.0.0.1").setNoDelay();
    const request = (n: number) => `GET / HTTP/1.1\r\nHost: a\r\nX-Id: ${c.repeat(20)}${n}\r\n\r\n`;
    socket.write(request(1) + request(2) + request(3).slice(0, 40), () => socket.write(request(3).slice(40)));
    return socket;
  });
  await expect.poll(() => seen.length).toBe(24);
  const wanted = [..."abcdefgh"].flatMap((c) => [1, 2, 3].map((n) => c.repeat(20) + n));
  expect(seen.sort()).toEqual(wanted);
  for (const socket of sockets) socket.destroy();
});

test("129: surplus that lies in the kernel when its connection is taken again is not the next answer", async () => {
  const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
  const backends: Socket[] = [];
  let requests = 0;
  const port = await proxyTo(
    await listen((socket) => {
      backends.push(socket);
      socket.on("error", () => {});
      socket.on("data", () => {
        requests++;
        socket.write(`${OK}ok`);
      });
    }),
  );
  const client = connect(port, "127.0.0.1").setNoDelay();
  let got = "";
  client.on("data", (data) => {
    got += data.toString("latin1");
  });
  const answered = async (status = 200): Promise<void> => {
    await expect.poll(() => /^HTTP\/1.1 (\d+)[\s\S]*\r\n\r\n/.exec(got)?.[1]).toBe(String(status));
    expect(got).not.toContain("no");
    got = "";
  };
  const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  for (let i = 0; i < 3; i++) {
    client.write(GET);
    await answered();
  }
  expect(backends).toHaveLength(1);
  // Both are written at once, in one turn: the proxy finds request and surplus in the same round. That request has arrived: it is not
  // sent again.
  client.write(GET);
  backends[0]!.write(`${OK}no`);
  await answered(503);
  client.write(GET);
  await answered();
  expect([backends.length, requests]).toEqual([2, 5]);
  client.destroy();
});
