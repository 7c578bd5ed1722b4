/** Deployments roll, StatefulSets keep their names, Jobs end with their sidecar, Gateways get a proxy: under load. */
import { rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { request } from "undici";
import { expect, test, vi } from "vitest";
import { onEachDataPlane } from "#test/harness/each-data-plane.ts";
import { type Load, startLoad } from "#test/harness/load.ts";

const from = join(import.meta.dirname, "workloads");
const LISTENER = await freePort();
const replace = {
  ECHO_MAIN: join(import.meta.dirname, "../harness/echo-main.ts"),
  LISTENER: String(LISTENER),
};
const patience = { timeout: 40_000, interval: 50 };

onEachDataPlane("workloads", { from, replace, modes: ["explicit", "transparent"] }, (mesh, { mode }) => {
  const supervisor = () => mesh().platform();
  const pod = async (name: string) => (await supervisor()).pods.find((p) => p.name === name);
  const load = async (): Promise<Load> => {
    const host = await mesh().addressOf("echo", "client");
    return startLoad({ url: `http://${host}:8080/`, headers: { host: "echo:8080" }, connections: 2 });
  };
  const revision = (n: number) =>
    vi.waitUntil(async () => {
      const echo = (await supervisor()).workloads.find((w) => w.name === "echo");
      return echo?.revision === n && echo.rollout?.state === "complete";
    }, patience);

  test("a Job is done with its sidecar: through the mesh, and nothing of its pod runs on", async () => {
    await vi.waitUntil(async () => (await pod("ask-0"))?.phase === "Succeeded", patience);
    expect(await pod("ask-0")).toMatchObject({ reason: "Completed", podIp: "" });
    expect(mesh().log("ask-0", "app")).toMatch(/answer 200/);
    await vi.waitUntil(() => mesh().pid({ pod: "ask-0", part: "proxy" }) === undefined, patience);
    await mesh().settled();
  });

  test("a rolling update, a restart and an undo: no request fails", async () => {
    const running = await load();
    mesh().edit("mesh.yaml", (text) => text.replace('value: "1"', 'value: "2"'));
    await revision(2);
    await mesh().weft("rollout", "restart", "deployment/echo");
    await revision(3);
    await mesh().weft("rollout", "undo", "deployment/echo", "--to-revision", "1");
    await revision(4);
    const sent = running.sent();
    await vi.waitUntil(() => running.sent() > sent + 20, patience);
    expect(await running.stop()).toEqual([]);
    await vi.waitUntil(() => mesh().pods("echo").length === 2, patience);
  }, 120_000);

  test("each pod of a StatefulSet is reached by its name", async () => {
    for (const name of ["db-1", "db-0"]) {
      const url = `http://${name}.db:8080/`;
      const script = `require("http").get(${JSON.stringify(url)}, (r) => r.on("data", (d) => process.stdout.write(r.statusCode + " " + d)))`;
      const { stdout, stderr } = await mesh().exec("client-0", ["node", "-e", script]);
      expect([stdout.toString(), stderr]).toEqual([expect.stringMatching(`^200 .*"service":"${name}"`), ""]);
    }
  });

  test("a Gateway gets a proxy and a port of this machine, and both go with it", async () => {
    const status = () =>
      request(`http://127.0.0.1:${LISTENER}/`).then(({ statusCode }) => statusCode, String);
    await vi.waitUntil(async () => (await status()) === 200, patience);
    const { hostPorts, workloads } = await supervisor();
    expect(hostPorts).toContainEqual({
      port: LISTENER,
      servicePort: LISTENER,
      service: "default/door-istio",
    });
    expect(workloads.find((w) => w.name === "door-istio")).toMatchObject({
      kind: "Deployment",
      readyPods: 1,
    });
    rmSync(join(mesh().dir, "gateway.yaml"));
    await vi.waitUntil(
      async () => (await supervisor()).pods.every((p) => p.workload !== "door-istio"),
      patience,
    );
    expect(await status()).toMatch(/ECONNREFUSED/);
  }, 60_000);

  test("an autoscaler follows the requests that the proxies count", async () => {
    await mesh().apply(`
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: { name: echo }
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: echo }
  minReplicas: 1
  maxReplicas: 3
  metrics:
    - type: Pods
      pods:
        metric: { name: requests-per-second }
        target: { type: AverageValue, averageValue: "5" }
`);
    const running = await load();
    await vi.waitUntil(
      () =>
        mesh()
          .pods("echo")
          .filter((p) => p.ready).length === 3,
      patience,
    );
    expect(await running.stop()).toEqual([]);
    if (mode === "explicit") await mesh().delete("HorizontalPodAutoscaler", "echo");
  }, 60_000);
});

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((done) => probe.listen(0, "127.0.0.1", done));
  const { port } = probe.address() as { port: number };
  await new Promise((done) => probe.close(done));
  return port;
}
