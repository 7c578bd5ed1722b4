import { once } from "node:events";
import { connect, createServer } from "node:net";
import { afterEach, expect, test } from "vitest";
import { createLogger } from "#lib/log.ts";
import { decodeSockaddr, originalDestination } from "#lib/original-dst.ts";
import { Listeners } from "./listener.ts";

const log = createLogger("test", "silent");
let listeners: Listeners;
afterEach(() => {
  listeners?.stopAccepting();
  listeners?.destroyConnections();
});

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, "close");
  return port;
}

test("a changed set keeps what stays, and open connections of what goes", async () => {
  const [a, b] = [await freePort(), await freePort()];
  listeners = new Listeners((socket) => socket.pipe(socket), log);
  expect(
    await listeners.apply([
      { name: "a", host: "127.0.0.1", port: a },
      { name: "b", host: "127.0.0.1", port: b },
    ]),
  ).toEqual([]);
  const onA = connect(a, "127.0.0.1");
  await once(onA, "connect");
  await listeners.apply([{ name: "b2", host: "127.0.0.1", port: b }]);
  onA.write("still");
  expect(String((await once(onA, "data"))[0])).toBe("still");
  const refused = connect(a, "127.0.0.1");
  expect((await once(refused, "error"))[0].code).toBe("ECONNREFUSED");
  expect(listeners.addresses()).toEqual([{ name: "b2", host: "127.0.0.1", port: b }]);
  onA.destroy();
});

test("a taken port is one clear problem, the others serve", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as { port: number };
  listeners = new Listeners(() => {}, log);
  const problems = await listeners.apply([
    { name: "taken", host: "127.0.0.1", port },
    { name: "free", host: "127.0.0.1", port: 0 },
  ]);
  expect(problems).toEqual([expect.stringContaining("another process has it")]);
  expect(listeners.addresses().map((a) => a.name)).toEqual(["free"]);
  other.close();
});

test("a connection that was not redirected has its local address as destination", async () => {
  const seen: { address: string; port: number }[] = [];
  listeners = new Listeners((socket) => seen.push(originalDestination(socket)), log);
  await listeners.apply([{ name: "x", host: "127.0.0.1", port: 0 }]);
  const { port } = listeners.addresses()[0]!;
  const client = connect(port, "127.0.0.1");
  await once(client, "connect");
  await expect.poll(() => seen).toEqual([{ address: "127.0.0.1", port }]);
  client.destroy();
});

test("socket addresses of both families", () => {
  expect(decodeSockaddr(Buffer.from("02001f900a600001", "hex"))).toEqual({
    address: "10.96.0.1",
    port: 8080,
  });
  const six = Buffer.alloc(28);
  Buffer.from("0a000050000000002001", "hex").copy(six);
  six[23] = 1;
  expect(decodeSockaddr(six)).toEqual({ address: "2001::1", port: 80 });
});
