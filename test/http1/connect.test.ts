/** CONNECT that a route ends here: a tunnel to a host of its cluster, and nothing but bytes after the 200. */
import { connect, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { Backend } from "./backend.ts";
import { talk } from "./client.ts";
import { type Plane, startPlane } from "./plane.ts";

let backend: Backend;
let plane: Plane;
const sockets: Socket[] = [];
beforeAll(async () => {
  backend = await new Backend().listen();
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await plane.stop();
  backend.reset();
});
afterAll(() => backend.close());

const connectTo = (cluster: string) => ({
  match: { pathSpecifier: { case: "connectMatcher" as const, value: {} } },
  action: {
    case: "route" as const,
    value: {
      clusterSpecifier: { case: "cluster" as const, value: cluster },
      upgradeConfigs: [{ upgradeType: "CONNECT", connectConfig: {} }],
    },
  },
});
const all = {
  match: { pathSpecifier: { case: "prefix" as const, value: "/" } },
  action: {
    case: "route" as const,
    value: { clusterSpecifier: { case: "cluster" as const, value: "backend" } },
  },
};
const CONNECT = "CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n";

async function start(routes: object[]): Promise<void> {
  const virtualHosts = [{ name: "v", domains: ["*"], routes }] as never;
  plane = await startPlane({ backendPort: backend.port, virtualHosts });
}

test("bytes pass both ways, those sent ahead too, and ends pass alone", async () => {
  backend.raw = (connection) => {
    if (connection.log.endsWith("ping")) connection.socket.write("pong");
    return true;
  };
  await start([connectTo("backend"), all]);
  const socket = connect({ port: plane.port, host: "127.0.0.1", allowHalfOpen: true });
  sockets.push(socket);
  let got = "";
  let ended = false;
  socket.on("end", () => {
    ended = true;
  });
  socket.on("data", (data) => {
    got += data.toString("latin1");
  });
  socket.write(`${CONNECT}ping`);
  await expect.poll(() => got).toMatch(/^HTTP\/1\.1 200 OK\r\ndate: [^\r\n]+\r\n\r\npong$/);
  expect(backend.bytes).toBe("ping");
  socket.end();
  await expect.poll(() => backend.connections[0]!.end).toBe("fin");
  await expect.poll(() => ended).toBe(true);
});

test("a kept connection is never made a tunnel, nor a tunnel kept", async () => {
  await start([connectTo("backend"), all]);
  await talk(plane.port, [Buffer.from("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")]);
  backend.raw = () => true;
  await talk(plane.port, [Buffer.from(CONNECT)], { until: (got) => got.length === 1 });
  backend.raw = null;
  await talk(plane.port, [Buffer.from("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")]);
  expect(backend.connections).toHaveLength(2);
});

test("a client that leaves while the tunnel is made takes it along", async () => {
  await start([connectTo("backend"), all]);
  const socket = connect(plane.port, "127.0.0.1").resume();
  sockets.push(socket);
  socket.end(CONNECT);
  await new Promise((closed) => socket.on("close", closed));
  await expect.poll(() => plane.open.size).toBe(0);
  await expect.poll(() => backend.connections.every(({ end }) => end !== "")).toBe(true);
});

test.each([
  ["no route ends it", [all], 405],
  ["its cluster is unknown", [connectTo("none"), all], 503],
  [
    "a direct response is all there is",
    [{ ...connectTo("x"), action: { case: "directResponse", value: { status: 502 } } }],
    502,
  ],
])("%s: an answer, and nothing after it is read", async (_why, routes, status) => {
  await start(routes as object[]);
  const { answers, end } = await talk(plane.port, [
    Buffer.from(`${CONNECT}GET /evil HTTP/1.1\r\nHost: a\r\n\r\n`),
  ]);
  expect(answers.map((a) => a.status)).toEqual([status]);
  expect(answers[0]!.fields).toMatch(/^connection: close\r$/m);
  expect(["fin", "reset"]).toContain(end);
  expect(backend.bytes).not.toContain("evil");
});
