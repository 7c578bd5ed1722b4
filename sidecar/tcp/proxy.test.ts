import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { TestClock } from "#lib/clock.ts";
import { type TcpOptions, TcpProxy, type TcpResult } from "./proxy.ts";

const servers: Server[] = [];
afterEach(() => {
  for (const s of servers.splice(0)) s.close();
});

async function serve(onSocket: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    onSocket(socket);
  }).listen(0, "127.0.0.1");
  servers.push(server);
  await once(server, "listening");
  return (server.address() as { port: number }).port;
}

async function through(app: (socket: Socket) => void, options: TcpOptions = { idleTimeoutMs: 0 }) {
  const appPort = await serve(app);
  const result = Promise.withResolvers<TcpResult>();
  const port = await serve((down) => {
    const up = connect({ port: appPort, host: "127.0.0.1", allowHalfOpen: true });
    new TcpProxy(down, up, options, result.resolve);
  });
  const client = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  await once(client, "connect");
  client.on("error", () => {});
  return { client, result: result.promise };
}

test("half-close: the answer that follows the client's FIN arrives", async () => {
  const { client, result } = await through((s) => {
    let got = 0;
    s.on("data", (c) => {
      got += c.length;
    });
    s.on("end", () => s.end(`you sent ${got}`));
  });
  client.end("12345");
  expect(String((await once(client, "data"))[0])).toBe("you sent 5");
  await once(client, "close");
  expect(await result).toMatchObject({ receivedBytes: 5, sentBytes: 10, reason: "closed" });
});

test("backpressure: a reader that stops stops the writer", async () => {
  let written = 0;
  const { client, result } = await through((s) => {
    const chunk = Buffer.alloc(65536);
    const more = (): void => {
      while (written < 64 * 1024 * 1024) {
        written += chunk.length;
        if (!s.write(chunk)) return void s.once("drain", more);
      }
      s.end();
    };
    more();
  });
  client.pause();
  // The writer settles once every buffer on the way is full.
  let last = -1;
  await expect
    .poll(
      () => {
        const same = written === last && written > 0;
        last = written;
        return same;
      },
      { interval: 100 },
    )
    .toBe(true);
  expect(written).toBeLessThan(48 * 1024 * 1024);
  client.resume();
  client.end();
  await once(client, "close");
  expect((await result).sentBytes).toBe(64 * 1024 * 1024);
});

test("a reset on one side ends the other", async () => {
  const { client, result } = await through((s) => s.on("data", () => s.resetAndDestroy()));
  client.on("error", () => {});
  client.resume();
  client.write("x");
  expect((await result).reason).toBe("upstream-error");
  await expect.poll(() => client.destroyed).toBe(true);
});

test("idle timeout counts from the last byte", async () => {
  const clock = new TestClock();
  const { client, result } = await through((s) => s.pipe(s), { idleTimeoutMs: 1000, clock });
  clock.advance(900);
  client.write("x");
  await once(client, "data");
  clock.advance(900);
  client.write("y");
  await once(client, "data");
  clock.advance(1001);
  expect((await result).reason).toBe("idle");
});

test("a server that never answers a client that has ended is given up", async () => {
  const clock = new TestClock();
  let heard = false;
  const { client, result } = await through((s) => s.on("data", () => {}).on("end", () => (heard = true)), {
    idleTimeoutMs: 3_600_000,
    clock,
  });
  client.end("request");
  await expect.poll(() => heard).toBe(true);
  clock.advance(119_000);
  expect(client.destroyed).toBe(false);
  clock.advance(2000);
  expect((await result).reason).toBe("idle");
});
