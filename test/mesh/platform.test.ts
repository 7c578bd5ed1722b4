/** What people write into pods, beside real proxies. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { PlatformStatus } from "#local/contract.ts";
import { ask } from "#test/harness/ask.ts";
import { onEachDataPlane } from "#test/harness/each-data-plane.ts";

const from = join(import.meta.dirname, "platform");
const WAIT = { timeout: 30_000, interval: 50 };

onEachDataPlane("platform", { from, modes: ["explicit", "transparent"] }, (mesh, { mode }) => {
  async function pod(workload: string): Promise<PlatformStatus["pods"][number] | undefined> {
    const status = await mesh().platform();
    return status.pods.find((p) => p.workload === workload);
  }
  /** GET of the api by its own pod, past the proxy. */
  async function api(path: string): Promise<string> {
    const { name, podIp, appIp } = mesh().pod("api");
    const { body } = await ask(
      (c) => mesh().exec(name, c),
      `http://${mode === "explicit" ? appIp : podIp}:8080${path}`,
    );
    return body;
  }

  test("init containers reach the mesh, as their pod", async () => {
    await expect.poll(() => existsSync(join(mesh().dir, "waited")), WAIT).toBe(true);
    await expect
      .poll(() => readFileSync(join(mesh().dir, "waited"), "utf8"), WAIT)
      .toBe("spiffe://cluster.local/ns/default/sa/task");
  });

  test("a task completes, its proxy ends with it, and it is no endpoint of anybody", async () => {
    await expect.poll(async () => (await pod("task"))?.phase, WAIT).toBe("Succeeded");
    expect(readFileSync(join(mesh().dir, "done"), "utf8")).toBe("spiffe://cluster.local/ns/default/sa/task");
    await expect
      .poll(
        async () => (await pod("task"))?.containers.map((c) => `${c.name} ${c.state} ${c.exitCode ?? ""}`),
        WAIT,
      )
      .toEqual([expect.stringMatching(/^istio-proxy stopped/), "wait ended 0", "main ended 0"]);
    expect(await pod("task")).toMatchObject({
      reason: "Completed",
      ready: false,
      message: "it has completed",
    });
  });

  test("several containers, env from ConfigMap and Secret, the old field serviceAccount, a volume at its mountPath", async () => {
    const { env, identity } = JSON.parse(await api("/"));
    expect(env).toMatchObject({ CONFIG_greeting: "hello", CONFIG_mode: "fast", PASSWORD: "hunter2" });
    expect(identity).toBe(null);
    expect(await api("/file?path=/etc/weft-mesh-test/api/greeting")).toBe("hello");
    expect(await mesh().weft("exec", "deploy/api", "--", "true")).toBe("");
    expect((await pod("api"))?.containers.map((c) => `${c.name} ${c.role} ${c.ready}`)).toEqual([
      "istio-proxy proxy true",
      "app main true",
      "beside main true",
    ]);
    const proxy = JSON.parse(
      readFileSync(join(mesh().stateDir, "pods", (await pod("api"))!.name, "proxy.json"), "utf8"),
    );
    expect(proxy.node.metadata.SERVICE_ACCOUNT).toBe("api");
  });

  test("a ConfigMap that is edited is in the volume within a second, in the same process, and not in its env", async () => {
    const before = JSON.parse(await api("/"));
    mesh().edit("mesh.yaml", (text) => text.replace("greeting: hello", "greeting: good day"));
    await expect.poll(() => api("/file?path=/etc/weft-mesh-test/api/greeting"), WAIT).toBe("good day");
    const after = JSON.parse(await api("/"));
    expect([after.pid, after.env.CONFIG_greeting]).toEqual([before.pid, "hello"]);
  });

  test("no command shows a Secret's value", async () => {
    for (const args of [
      ["get", "secret", "-o", "yaml"],
      ["get", "secret", "api", "-o", "json"],
      ["status", "-o", "json"],
    ]) {
      const { out, err } = await mesh().cli(...args);
      expect(out + err).not.toMatch(/hunter2|aHVudGVyMg/);
    }
  });

  test.runIf(mode === "explicit")(
    "an app that listens on all addresses is told at once what to do",
    async () => {
      await mesh().weft("apply", "-f", join(from, "..", "platform-wrong", "wrong.yaml"));
      await expect
        .poll(async () => (await pod("wrong"))?.message, WAIT)
        .toMatch(/let it listen on the address in \$HOST \(also \$POD_IP\), here 127\./);
      expect((await pod("wrong"))?.notes.join()).toContain("$HOST");
      expect((await mesh().cli("status")).out).toMatch(/wrong-0\.default: .*\$HOST/);
      expect(await mesh().weft("describe", "pod", "wrong-0")).toMatch(
        /^Because: [\s\S]*?\$HOST[\s\S]*?^Address:/m,
      );
      await mesh().weft("delete", "Deployment", "wrong");
    },
  );
});
