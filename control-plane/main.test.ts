import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, it } from "vitest";
import { Backoff } from "#lib/backoff.ts";
import { XdsConnection } from "#xds/client/connection.ts";
import { NodeSchema } from "#xds/gen/envoy/config/core/v3/base_pb.js";
import { DeltaClientState, shortType, TYPE } from "#xds/index.ts";

let dir: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "weft-main-"));
  const listen = { grpc: [`unix:${dir}/xds.sock`], admin: `unix:${dir}/admin.sock`, otlp: null };
  writeFileSync(join(dir, "c.json"), JSON.stringify({ paths: [], stateDir: dir, listen }));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

function start() {
  const child = spawn(process.execPath, [
    join(import.meta.dirname, "main.ts"),
    "--config",
    join(dir, "c.json"),
  ]);
  children.push(child);
  let stderr = "";
  child.stderr.on("data", (d) => {
    stderr += d;
  });
  const exit = new Promise<number | null>((done) => child.once("close", done));
  return { child, exit, stderr: () => stderr };
}
const healthy = () =>
  new Promise<boolean>((done) =>
    request({ socketPath: join(dir, "admin.sock"), path: "/healthz" }, (r) => {
      r.resume();
      done(r.statusCode === 200);
    })
      .on("error", () => done(false))
      .end(),
  );
const up = () => expect.poll(healthy, { timeout: 60_000 }).toBe(true);

it("leaves a living socket alone, and takes over a dead one", { timeout: 130_000 }, async () => {
  const first = start();
  await up();
  expect(statSync(join(dir, "admin.sock")).mode & 0o777).toBe(0o600);
  const second = start();
  expect(await second.exit).toBe(1);
  expect(second.stderr().trim().split("\n")).toHaveLength(1);
  expect(second.stderr()).toContain("another process answers on");
  expect(await healthy()).toBe(true);
  first.child.kill("SIGKILL");
  await first.exit;
  expect(existsSync(join(dir, "admin.sock"))).toBe(true);
  start();
  await up();
});

it("a trace store that cannot be used keeps nobody from the mesh", { timeout: 90_000 }, async () => {
  const listen = { grpc: [], admin: `unix:${dir}/admin.sock`, otlp: `unix:${dir}/otlp.sock` };
  writeFileSync(join(dir, "c.json"), JSON.stringify({ paths: [], stateDir: dir, listen }));
  writeFileSync(join(dir, "traces.db"), "no database".repeat(100));
  const { stderr } = start();
  await up();
  expect(stderr()).toContain("traces are kept in memory only");
  expect(stderr()).toContain("traces.db is not a usable trace store");
});

const POD = `apiVersion: v1
kind: Pod
metadata: {name: page-0, labels: {app: page}}
spec: {serviceAccountName: a, containers: [{name: c, ports: [{containerPort: 80}]}]}
status: {phase: Running, podIP: 10.0.0.1, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: page}
spec: {selector: {app: page}, ports: [{name: http, port: 80}]}
`;

it("killed and started again, it sends a proxy nothing that it has, and takes nothing away", {
  timeout: 130_000,
}, async () => {
  writeFileSync(join(dir, "mesh.yaml"), POD);
  const listen = { grpc: [`unix:${dir}/xds.sock`], admin: `unix:${dir}/admin.sock`, otlp: null };
  writeFileSync(
    join(dir, "c.json"),
    JSON.stringify({ paths: [join(dir, "mesh.yaml")], stateDir: dir, listen }),
  );
  const first = start();
  await up();
  const updates: string[] = [];
  let connected = 0;
  const id = "sidecar~10.0.0.1~page-0.default~default.svc.cluster.local";
  const state = new DeltaClientState(create(NodeSchema, { id }), ({ type, upserts, removed }) => {
    if (upserts.length + removed.length > 0)
      updates.push(`${shortType(type)} +${upserts.map((r) => r.name)} -${removed}`);
    return [];
  });
  state.subscribe(TYPE.cluster, "*");
  state.subscribe(TYPE.listener, "*");
  const connection = new XdsConnection({
    address: `unix:${dir}/xds.sock`,
    state,
    backoff: new Backoff(10, 50),
    onStatus: (status) => {
      if (status.connected) connected++;
    },
  });
  try {
    connection.start();
    await expect.poll(() => updates.map((u) => u.split(" ")[0])).toContain("RouteConfiguration");
    first.child.kill("SIGKILL");
    await first.exit;
    updates.length = 0;
    connected = 0;
    start();
    await up();
    // CDS and LDS answer a wildcard even when there is nothing to say.
    await expect.poll(() => connected, { timeout: 10_000 }).toBeGreaterThanOrEqual(2);
    writeFileSync(
      join(dir, "mesh.yaml"),
      `${POD}---\n${POD.slice(POD.indexOf("---\n") + 4).replaceAll("page", "more")}`,
    );
    await expect.poll(() => updates, { timeout: 10_000 }).toContain("RouteConfiguration +80 -");
    expect(updates).toEqual([
      "Cluster +outbound|80||more.default.svc.cluster.local -",
      "ClusterLoadAssignment +outbound|80||more.default.svc.cluster.local -",
      "RouteConfiguration +80 -",
    ]);
  } finally {
    connection.close();
  }
});
