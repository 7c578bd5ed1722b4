import { once } from "node:events";
import { connect, createServer } from "node:net";
import { expect, test } from "vitest";
import { createLogger } from "#lib/log.ts";
import { DENY_ALL } from "./config/decode/rbac.ts";
import { DataPlane } from "./proxy.ts";
import type { FilterChain, Listener, NetworkFilter, Snapshot } from "./snapshot.ts";
import { TcpProxy } from "./tcp/proxy.ts";

function snapshotOf(port: number, chain: FilterChain | null): Snapshot {
  const listener = {
    name: "in",
    address: "127.0.0.1",
    port,
    pipe: null,
    bindToPort: true,
    direction: "INBOUND",
    useOriginalDst: false,
    restoresOriginalDst: false,
    tlsInspector: null,
    httpInspector: { disabledFor: () => false },
    listenerFiltersTimeoutMs: 0,
    continueOnListenerFiltersTimeout: true,
    findFilterChain: () => chain,
  } as unknown as Listener;
  return {
    listeners: new Map([["in", listener]]),
    bound: [listener],
    findByOriginalDst: () => null,
  } as unknown as Snapshot;
}
const chain = {
  tls: null,
  networkFilters: [{ kind: "noop", name: "n" }],
  terminal: { kind: "tcp" },
} as unknown as FilterChain;

async function start(found: FilterChain | null) {
  const app = createServer({ allowHalfOpen: true }, (s) => s.on("error", () => {}).pipe(s)).listen(
    0,
    "127.0.0.1",
  );
  await once(app, "listening");
  const refusals: string[] = [];
  const proxy = new DataPlane(
    {
      trustDomain: "cluster.local",
      secret: () => null,
      denied: () => {},
      undetected: () => {},
      unmatched: () => {},
      refused: (_l, reason) => refusals.push(reason),
    },
    {
      http: () => {},
      drainHttp: () => {},
      tcp: (accepted) => {
        const { port } = app.address() as { port: number };
        const up = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
        new TcpProxy(accepted.stream, up, { idleTimeoutMs: 0 }, () => {});
      },
    },
    createLogger("test", "silent"),
  );
  expect(await proxy.publish(snapshotOf(0, found))).toEqual([]);
  const client = connect(proxy.listeners.addresses()[0]!.port, "127.0.0.1");
  client.on("error", () => {});
  client.write("SSH-2.0-x\r\n");
  return { app, proxy, client, refusals };
}

test("peeked bytes reach the app, and a drain cuts what outlives the deadline", async () => {
  const { app, proxy, client } = await start(chain);
  expect(String((await once(client, "data"))[0])).toBe("SSH-2.0-x\r\n");
  await proxy.drain(50);
  await expect.poll(() => client.destroyed).toBe(true);
  expect(proxy.listeners.addresses()).toEqual([]);
  app.close();
});

test("a drain is over when its last connection has closed", async () => {
  const { app, proxy, client } = await start(chain);
  await once(client, "data");
  const drained = proxy.drain(3_600_000);
  client.destroy();
  await drained;
  expect(proxy.listeners.connections.size).toBe(0);
  app.close();
});

const guardedBy = (filter: object): FilterChain => ({ ...chain, networkFilters: [filter as NetworkFilter] });
test.each([
  ["a filter that denies", guardedBy({ kind: "rbac", name: "r", rbac: DENY_ALL }), "rbac_denied"],
  ["a filter of a new kind", guardedBy({ kind: "new", name: "n" }), "rbac_denied"],
  ["no chain", null, "filter_chain_not_found"],
])("%s: closed", async (_name, found, reason) => {
  const { app, proxy, client, refusals } = await start(found);
  client.resume();
  await expect.poll(() => refusals).toEqual([reason]);
  await expect.poll(() => client.destroyed).toBe(true);
  await proxy.drain(0);
  app.close();
});

test("an address that somebody else has: not reachable until it is free, and then taken", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { app, proxy, client } = await start(chain);
  client.destroy();
  const { port } = other.address() as { port: number };
  expect(await proxy.publish(snapshotOf(port, chain))).toEqual([
    expect.stringContaining("another process has it"),
  ]);
  expect(proxy.unreachable).toBe(true);
  other.close();
  await expect.poll(() => proxy.unreachable, { timeout: 5000 }).toBe(false);
  expect(proxy.listeners.addresses()).toMatchObject([{ port }]);
  await proxy.drain(0);
  app.close();
});
