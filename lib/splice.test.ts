import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { Duplex } from "node:stream";
import { afterEach, expect, test } from "vitest";
import { splice } from "./splice.ts";

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** Both ends of a TCP connection. */
async function pair(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true });
  servers.push(server);
  await once(server.listen(0, "127.0.0.1"), "listening");
  const near = connect({ port: (server.address() as { port: number }).port, allowHalfOpen: true });
  const [far] = (await once(server, "connection")) as [Socket];
  return [near, far];
}

test("bytes that one side still holds when the other has closed arrive", async () => {
  const [b, app] = await pair();
  const taken: string[] = [];
  const { promise: ready, resolve: take } = Promise.withResolvers<void>();
  const a = new Duplex({
    read: () => {},
    write: (chunk, _encoding, done) => {
      void ready.then(() => {
        taken.push(String(chunk));
        done();
      });
    },
  });
  a.push("asked");
  a.push(null);
  splice(a, b);
  app.resume().end("the answer");
  await once(b, "close");
  take();
  await once(a, "close");
  expect(taken).toEqual(["the answer"]);
  expect(a.writableFinished).toBe(true);
});

test("a half-closed connection goes on the other way", async () => {
  const [client, a] = await pair();
  const [b, app] = await pair();
  splice(a, b);
  client.end("asked");
  await once(app.resume(), "end");
  app.end("late");
  expect(String((await once(client, "data"))[0])).toBe("late");
  await once(client, "end");
});

test("a reset passes through", async () => {
  const [client, a] = await pair();
  const [b, app] = await pair();
  splice(a, b);
  client.resume();
  app.resetAndDestroy();
  expect((await once(client, "error"))[0]).toMatchObject({ code: "ECONNRESET" });
});
