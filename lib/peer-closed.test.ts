import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { peerClosed } from "./peer-closed.ts";

const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

async function pair(): Promise<[near: Socket, far: Socket]> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const near = connect((server.address() as AddressInfo).port, "127.0.0.1");
  const [far] = (await once(server, "connection")) as [Socket];
  far.on("error", () => {});
  server.close();
  sockets.push(near, far);
  return [near, far];
}

test.runIf(process.platform === "linux")("FIN and RST are seen behind bytes that nobody reads", async () => {
  for (const leave of ["end", "resetAndDestroy"] as const) {
    const [near, far] = await pair();
    near.write("unread");
    expect(peerClosed(far)).toBe(false);
    near[leave]();
    await expect.poll(() => peerClosed(far)).toBe(true);
    expect(far.bytesRead).toBe(0);
  }
});

test("a socket without a descriptor is not taken for closed", async () => {
  const [near] = await pair();
  near.destroy();
  expect(peerClosed(near)).toBe(false);
});
