import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { dialRelay, serveRelay } from "./relay.ts";

test("600 that dial at once all get through", async () => {
  const dir = mkdtempSync(join(tmpdir(), "relay-"));
  const target = createServer((socket) => socket.end("hello")).listen(0, "127.0.0.1");
  const relay = await serveRelay(join(dir, "s"));
  const { port } = target.address() as AddressInfo;
  // All of these connect before this process accepts one.
  const dials = Array.from({ length: 600 }, () =>
    dialRelay(join(dir, "s"), { host: "127.0.0.1", port, source: null }),
  );
  const settled = await Promise.allSettled(dials);
  const failed = settled.flatMap((d) => (d.status === "rejected" ? [String(d.reason)] : []));
  for (const d of settled) if (d.status === "fulfilled") d.value.destroy();
  relay.close();
  target.close();
  rmSync(dir, { recursive: true });
  expect(failed).toEqual([]);
});
