import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { TLSSocket, connect as tlsConnect } from "node:tls";
import { expect, test } from "vitest";
import { resetSocket } from "./reset-socket.ts";

const psk = Buffer.alloc(16, 7);
const PSK = { ciphers: "PSK", maxVersion: "TLSv1.2" as const };

/** What the client of a connection meets after a few bytes and a reset: an error code, or "end". */
async function outcome(at: number | string, tls: boolean): Promise<string> {
  const server = createServer((raw) => {
    const stream: Duplex = tls
      ? new TLSSocket(raw, { isServer: true, ...PSK, pskCallback: () => psk } as never)
      : raw;
    stream.on("error", () => {});
    stream.on("data", () => {
      stream.write("partial", () => resetSocket(stream));
    });
  }).listen(at as number);
  await once(server, "listening");
  const to = typeof at === "string" ? { path: at } : { port: (server.address() as { port: number }).port };
  const client: Socket = tls
    ? tlsConnect({
        ...to,
        ...PSK,
        pskCallback: () => ({ psk, identity: "a" }),
        checkServerIdentity: () => undefined,
      })
    : connect(to as { port: number });
  client.write("x");
  client.resume();
  const end = await new Promise<string>((resolve) => {
    client.on("end", () => resolve("end"));
    client.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
  client.destroy();
  server.close();
  return end;
}

test("TCP and TLS over TCP are reset; a pipe cannot be, and is ended", async () => {
  expect(await outcome(0, false)).toBe("ECONNRESET");
  expect(await outcome(0, true)).toBe("ECONNRESET");
  expect(await outcome(join(tmpdir(), `weft-reset-${process.pid}.sock`), false)).toBe("end");
});
