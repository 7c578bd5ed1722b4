import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";

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
const up = () => expect.poll(healthy, { timeout: 15_000 }).toBe(true);

it("leaves a living socket alone, and takes over a dead one", { timeout: 40_000 }, async () => {
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
