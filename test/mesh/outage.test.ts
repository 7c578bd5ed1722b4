/** A minute without a control plane: nobody notices, and when it is back nothing that is known is sent or built again. */
import { renameSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { call } from "#test/harness/call.ts";
import { onEachDataPlane } from "#test/harness/each-data-plane.ts";
import { startLoad } from "#test/harness/load.ts";

const OUTAGE_MS = 60_000;
const from = join(import.meta.dirname, "echo");
const replace = { ECHO_MAIN: join(import.meta.dirname, "../harness/echo-main.ts") };

onEachDataPlane("outage", { from, replace, together: true }, (mesh) => {
  /** When each resource of a proxy was last taken, by its name. */
  async function taken(pod: string): Promise<Record<string, string>> {
    const found: Record<string, string> = {};
    const look = (value: unknown): void => {
      if (typeof value !== "object" || value === null) return;
      const { last_updated: at, ...rest } = value as Record<string, unknown>;
      const named = Object.values(rest).find((v): v is { name: string } => Object(v).name !== undefined);
      if (typeof at === "string" && named !== undefined) found[named.name] = at;
      for (const below of Object.values(rest)) look(below);
    };
    const { configs } = JSON.parse((await mesh().admin(pod, "/config_dump"))!) as {
      configs: { "@type": string }[];
    };
    for (const dump of configs) if (/Clusters|Listeners|Routes/.test(dump["@type"])) look(dump);
    return found;
  }

  test(
    "kill -9 of the control plane, away for 60 s, and back",
    async () => {
      const pods = ["client", "echo-v1", "echo-v2", "istio-ingressgateway"].map((w) => mesh().pod(w).name);
      const all = async () =>
        Object.fromEntries(await Promise.all(pods.map(async (p) => [p, await taken(p)])));
      const before = await all();
      expect(Object.keys(before[pods[0]!])).toEqual(
        expect.arrayContaining(["outbound|8080||echo.default.svc.cluster.local", "8080"]),
      );
      const host = await mesh().addressOf("echo", "client");
      const inside = startLoad({
        url: `http://${host}:8080/`,
        headers: { host: "echo:8080" },
        connections: 2,
      });
      const outside = startLoad({
        url: `${mesh().gateway}/`,
        headers: { host: "echo.example" },
        connections: 1,
      });

      // Its supervisor brings it back, but not without its configuration.
      const config = join(mesh().stateDir, "control-plane.json");
      renameSync(config, `${config}.away`);
      mesh().kill("control-plane");
      const begin = performance.now();
      let answers = 0;
      await vi.waitUntil(
        async () => {
          if ((await mesh().admin("control-plane", "/healthz")) !== null) answers++;
          return performance.now() - begin > OUTAGE_MS;
        },
        { timeout: OUTAGE_MS * 2, interval: 100 },
      );
      expect(answers).toBe(0);
      const during = inside.sent();
      renameSync(`${config}.away`, config);
      await vi.waitUntil(
        async () =>
          (
            await mesh()
              .status()
              .catch(() => null)
          )?.proxies.length === pods.length,
        {
          timeout: 60_000,
          interval: 20,
        },
      );
      await mesh().settled();
      expect(await all()).toEqual(before);
      for (const { types } of (await mesh().status()).proxies)
        for (const [type, { sent }] of Object.entries(types))
          if (/RouteConfiguration|ClusterLoadAssignment/.test(type)) expect(sent, type).toBe("");

      // It is the control plane again: what it says counts.
      await mesh().apply(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: echo }
spec: { hosts: [echo], http: [{ match: [{ uri: { prefix: /new } }], directResponse: { status: 299 } }, { route: [{ destination: { host: echo } }] }] }
`);
      const fresh = { host, port: 8080, path: "/new" };
      const isNew = async () => (await call({ ...fresh, headers: { host: "echo:8080" } })).status === 299;
      await vi.waitUntil(isNew, { timeout: 10_000, interval: 20 }); // expect.poll knows no concurrent tests
      expect(await inside.stop()).toEqual([]);
      expect(await outside.stop()).toEqual([]);
      console.info(`${mesh().dataPlane}: ${during} requests without a control plane, 0 failed`);
    },
    OUTAGE_MS * 4,
  );
});
