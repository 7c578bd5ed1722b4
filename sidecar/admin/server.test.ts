import { mkdtemp, rm } from "node:fs/promises";
import { request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { type AdminSource, serveAdmin, servePrometheus, serveStatus } from "./server.ts";

let server: Server;
afterEach(() => server?.close());

const calls: string[] = [];
const source: AdminSource = {
  ready: () => false,
  serverInfo: () => ({
    version: "0",
    state: "LIVE",
    uptime_current_epoch: "1s",
    uptime_all_epochs: "1s",
    hot_restart_version: "disabled",
    command_line_options: { concurrency: 1, drain_time: "5s", log_level: "info", mode: "Serve" },
    node: { id: "n", cluster: "c", metadata: {} },
  }),
  configDump: async (query) => ({ eds: query.has("include_eds") }),
  clusters: () => ({ cluster_statuses: [] }),
  listeners: () => ({ listener_statuses: [] }),
  certs: () => ({ certificates: [] }),
  stats: () => [
    ["a", 1],
    ["b.c", 2],
  ],
  prometheus: () => "a 1\n",
  setLogLevel: (level) => calls.push(level),
  drain: () => calls.push("drain"),
};

function get(options: object): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    request({ agent: false, ...options }, (response) => {
      let body = "";
      response.on("data", (c) => {
        body += c;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    })
      .on("error", reject)
      .end();
  });
}

test("on loopback: pages, methods, a foreign Host", async () => {
  server = await serveAdmin({ kind: "tcp", host: "127.0.0.1", port: 0 }, source);
  const { port } = server.address() as AddressInfo;
  const at = (path: string, more: object = {}) => get({ port, host: "127.0.0.1", path, ...more });
  expect((await at("/ready")).status).toBe(503);
  expect((await at("/stats")).body).toBe("a: 1\nb.c: 2\n");
  expect((await at("/stats?usedonly&filter=%5Eb%5C.")).body).toBe("b.c: 2\n");
  expect((await at("/stats?filter=(")).status).toBe(400);
  expect(JSON.parse((await at("/stats?format=json&filter=a")).body)).toEqual({
    stats: [{ name: "a", value: 1 }],
  });
  expect(JSON.parse((await at("/config_dump?include_eds")).body)).toEqual({ eds: true });
  expect((await at("/stats", { headers: { host: "evil.example" } })).status).toBe(403);
  expect((await at("/drain_listeners")).status).toBe(405);
  expect((await at("/logging?level=debug", { method: "POST" })).status).toBe(200);
  expect((await at("/quitquitquit", { method: "POST" })).status).toBe(405); // SIGTERM ends a proxy
  expect((await at("/logging?level=warning", { method: "POST" })).status).toBe(200);
  expect((await at("/logging?level=loud", { method: "POST" })).status).toBe(400);
  expect(calls).toEqual(["debug", "warn"]);
});

test("on a Unix socket", async () => {
  const folder = await mkdtemp(join(tmpdir(), "admin-"));
  server = await serveAdmin({ kind: "unix", path: join(folder, "a.sock") }, source);
  expect((await get({ socketPath: join(folder, "a.sock"), path: "/server_info" })).status).toBe(200);
  await rm(folder, { recursive: true });
});

test("the scrapers' address has the metrics and nothing else, for any Host", async () => {
  server = await servePrometheus({ kind: "tcp", host: "127.0.0.1", port: 0 }, source);
  const { port } = server.address() as AddressInfo;
  const at = (path: string) => get({ port, host: "127.0.0.1", path, headers: { host: "pod.example" } });
  expect((await at("/stats/prometheus")).body).toBe("a 1\n");
  for (const path of ["/config_dump", "/quitquitquit", "/certs", "/"])
    expect((await at(path)).status).toBe(404);
});

test("the kubelet's probe: 503 until ready, 200 then, nothing else there", async () => {
  let ready = false;
  server = await serveStatus(0, { ...source, ready: () => ready });
  const { port } = server.address() as AddressInfo;
  const at = (path: string) => get({ port, host: "127.0.0.1", path });
  expect((await at("/healthz/ready")).status).toBe(503);
  ready = true;
  expect((await at("/healthz/ready")).status).toBe(200);
  expect((await at("/ready")).status).toBe(404);
});
