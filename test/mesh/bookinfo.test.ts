/** The main job, twice with the same expectations: on our sidecars, and on a stock Envoy driven by our control plane. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { findEnvoy } from "#test/harness/envoy.ts";

const root = join(import.meta.dirname, "../..");
const envoy = findEnvoy();
if ("missing" in envoy && process.env["CI"])
  throw new Error(`in CI nothing may be missing: ${envoy.missing}`);
const skip = "missing" in envoy ? envoy.missing : "";

describe.each(["weft", "envoy"])("bookinfo on %s", (dataPlane) => {
  const it = test.skipIf(dataPlane === "envoy" && skip !== "");
  const dir = mkdtempSync(join(tmpdir(), "wf-"));
  const example = join(dir, "bookinfo");
  let mesh: ChildProcess | undefined;
  let status: { hostPorts: { port: number }[]; pods: { name: string; podIp: string }[] };

  beforeAll(async () => {
    if (dataPlane === "envoy" && skip !== "") return;
    cpSync(join(root, "examples/bookinfo"), example, { recursive: true });
    const args = ["cli/main.ts", "up", example, "--data-plane", dataPlane, "-o", "json"];
    const started = spawn(process.execPath, args, {
      cwd: root,
      env: { ...process.env, XDG_STATE_HOME: dir, WEFT_ENVOY: "path" in envoy ? envoy.path : "" },
    });
    mesh = started;
    let out = "";
    let err = "";
    started.stderr?.on("data", (chunk) => (err += chunk));
    status = await new Promise((done, fail) => {
      started.stdout?.on("data", (chunk) => {
        out += chunk;
        if (out.endsWith("\n}\n")) done(JSON.parse(out));
      });
      started.once("exit", (code) => fail(new Error(`weft up ended with ${code}: ${err}`)));
    });
    // `up` reports ready when every process is; the last endpoints may still be on their way to the proxies.
    await vi.waitUntil(async () => (await page()).status === 200, { timeout: 20_000, interval: 20 });
  }, 90_000);

  afterAll(async () => {
    if (mesh !== undefined && mesh.exitCode === null) {
      mesh.kill("SIGTERM");
      await once(mesh, "exit");
    }
    rmSync(dir, { recursive: true, force: true });
  });

  const page = (): Promise<Response> => fetch(`http://127.0.0.1:${status.hostPorts[0]!.port}/productpage`);
  async function versions(count: number): Promise<Record<string, number>> {
    const seen: Record<string, number> = {};
    for (let i = 0; i < count; i++) {
      const response = await page();
      const version = /reviews-(v[123])/.exec(await response.text())?.[1] ?? `status ${response.status}`;
      seen[version] = (seen[version] ?? 0) + 1;
    }
    return seen;
  }

  it("200 pages through the gateway: reviews v1 and v2 in 90/10 within 3 sigma", async () => {
    const seen = await versions(200);
    expect(Object.keys(seen).sort()).toEqual(["v1", "v2"]);
    expect(Math.abs(seen["v1"]! - 180)).toBeLessThanOrEqual(3 * Math.sqrt(200 * 0.9 * 0.1));
  });

  it("plaintext to a STRICT port is refused; a caller without permission gets 403 and Istio's body", async () => {
    const reviews = status.pods.find((pod) => pod.name.startsWith("reviews-v1"))!;
    await expect(fetch(`http://${reviews.podIp}:9080/reviews/0`)).rejects.toThrow();
    const denied = await fetch(`http://127.0.0.1:${status.hostPorts[0]!.port}/api/v1/products/0/ratings`);
    expect(denied.status).toBe(403);
    expect(await denied.text()).toContain("RBAC: access denied");
  });

  it("an edited file shifts the traffic, and no request fails while it does", async () => {
    const file = join(example, "policies/reviews-canary.yaml");
    const before = readFileSync(file, "utf8");
    const after = before.replace("weight: 90", "weight: 0").replace("weight: 10", "weight: 100");
    expect(after).not.toBe(before);
    writeFileSync(file, after);
    await expect.poll(() => versions(5), { timeout: 10_000, interval: 20 }).toEqual({ v2: 5 });
    expect(await versions(30)).toEqual({ v2: 30 });
  });
});
