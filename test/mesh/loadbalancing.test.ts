/** DestinationRule's load balancers over three pods. */
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { call } from "#test/harness/call.ts";
import { onEachDataPlane } from "#test/harness/each-data-plane.ts";

const from = join(import.meta.dirname, "echo");
const replace = {
  ECHO_MAIN: join(import.meta.dirname, "../harness/echo-main.ts"),
  "name: echo-v1\nspec:\n": "name: echo-v1\nspec:\n  replicas: 2\n",
};
const PODS = ["echo-v1-0", "echo-v1-1", "echo-v2-0"];

onEachDataPlane("load balancing", { from, replace }, (mesh) => {
  let host = "";
  beforeAll(async () => {
    host = await mesh().addressOf("echo", "client");
  });
  const balance = (simple: string): Promise<void> =>
    mesh().apply(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: echo }
spec: { host: echo, trafficPolicy: { loadBalancer: { simple: ${simple} } } }
`);

  /** How often each pod answered, with so many requests under way at a time. */
  async function spread(count: number, atOnce = 1, path = "/"): Promise<number[]> {
    const seen: Record<string, number> = {};
    let left = count;
    const one = async (): Promise<void> => {
      while (left-- > 0) {
        const { status, echoed } = await call({ host, port: 8080, path, headers: { host: "echo:8080" } });
        expect(status).toBe(200);
        seen[echoed!.service] = (seen[echoed!.service] ?? 0) + 1;
      }
    };
    await Promise.all(Array.from({ length: atOnce }, one));
    expect(Object.keys(seen).sort()).toEqual(PODS);
    return PODS.map((pod) => seen[pod]!);
  }
  // One count in 370 lies outside of 3 sigma by right, hence the retries.
  const isEven = (counts: number[], count: number): void => {
    const sigma = Math.sqrt((count * 2) / 9);
    for (const n of counts) expect(Math.abs(n - count / 3), `${counts}`).toBeLessThanOrEqual(3 * sigma);
  };

  test("RANDOM: even within 3 sigma", { retry: 1 }, async () => {
    await balance("RANDOM");
    isEven(await spread(300), 300);
  });

  test("ROUND_ROBIN: each in turn", async () => {
    await balance("ROUND_ROBIN");
    // One connection after the other, and Envoy's two workers take turns of their own.
    for (const n of await spread(60)) expect(Math.abs(n - 20)).toBeLessThanOrEqual(2);
  });

  test.for(["LEAST_REQUEST", "UNSPECIFIED"])(
    "%s: even, and a slow pod gets less",
    { retry: 1 },
    async (simple) => {
      await balance(simple);
      isEven(await spread(150), 150);
      const [, , slow] = await spread(150, 10, "/?delay=600&on=echo-v2");
      expect(slow).toBeLessThan(50 - 3 * Math.sqrt((150 * 2) / 9));
    },
  );
});
