/** Routes of Services and a gateway by the Gateway API, in the shape of Istio's bookinfo samples; on Envoy Istio's own. */
import { join } from "node:path";
import { beforeAll, expect, test, vi } from "vitest";
import { onEachDataPlane } from "#test/harness/each-data-plane.ts";
import { sample } from "#test/harness/samples.ts";

const root = join(import.meta.dirname, "../..");
const LABEL = "gateway.networking.k8s.io/gateway-name: bookinfo-gateway";

/** Services of one version each belong to the sample; the gateway's own is what istiod would make. */
const SERVICES = `
apiVersion: v1
kind: Service
metadata: { name: bookinfo-gateway-istio }
spec: { selector: { ${LABEL} }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
`;

const from = join(root, "examples/bookinfo");
const replace = { "app: istio-ingressgateway": `app: istio-ingressgateway\n        ${LABEL}` };
onEachDataPlane("bookinfo by the Gateway API", { from, replace }, (mesh, { dataPlane }) => {
  const apply = (name: string): Promise<void> =>
    mesh().apply(sample(`bookinfo/${name}`, dataPlane === "envoy"));
  beforeAll(async () => {
    mesh().edit("policies/reviews-canary.yaml", () => "# routes of the Gateway API decide\n");
    // What left its file stands for some seconds.
    await vi.waitFor(async () => expect((await mesh().cli("get", "virtualservice/reviews")).code).toBe(1), {
      timeout: 40_000,
    });
    await mesh().apply(SERVICES);
    await apply("platform/kube/bookinfo-versions");
  });

  async function versions(count: number): Promise<Record<string, number>> {
    const seen: Record<string, number> = {};
    for (let i = 0; i < count; i++) {
      const html = await (await fetch(`${mesh().gateway}/productpage`)).text();
      const version = /reviews-(v[123])</.exec(html)?.[1] ?? "none";
      seen[version] = (seen[version] ?? 0) + 1;
    }
    return seen;
  }
  const soon = (count: number) => expect.poll(() => versions(count), { timeout: 10_000, interval: 20 });
  const within3Sigma = (seen: number, count: number, part: number): void =>
    expect(Math.abs(seen - count * part)).toBeLessThanOrEqual(3 * Math.sqrt(count * part * (1 - part)));

  test("route-all-v1, route-reviews-v1, route-reviews-v3", async () => {
    await apply("gateway-api/route-all-v1");
    await soon(5).toEqual({ v1: 5 });
    expect(await versions(20)).toEqual({ v1: 20 });
    await apply("gateway-api/route-reviews-v3");
    await soon(5).toEqual({ v3: 5 });
    expect(await versions(20)).toEqual({ v3: 20 });
    await apply("gateway-api/route-reviews-v1");
    await soon(5).toEqual({ v1: 5 });
  });

  // One share in 370 lies outside of 3 sigma by right, hence the retry.
  test("route-reviews-50-v3 and route-reviews-90-10: shares within 3 sigma", { retry: 1 }, async () => {
    await apply("gateway-api/route-reviews-50-v3");
    await soon(20).toEqual({ v1: expect.any(Number), v3: expect.any(Number) });
    within3Sigma((await versions(100))["v3"]!, 100, 0.5);
    await apply("gateway-api/route-reviews-90-10");
    await expect.poll(async () => (await versions(5))["v3"], { timeout: 10_000 }).toBeUndefined();
    within3Sigma((await versions(100))["v2"] ?? 0, 100, 0.1);
  });

  test("bookinfo-gateway", async () => {
    await mesh()
      .delete("Gateway.networking.istio.io", "bookinfo-gateway")
      .catch(() => {});
    await apply("gateway-api/bookinfo-gateway");
    const status = async (path: string) => (await fetch(mesh().gateway + path)).status;
    await expect.poll(() => status("/productpage"), { timeout: 10_000 }).toBe(200);
    expect(await status("/api/v1/products")).toBe(200);
    expect(await status("/elsewhere")).toBe(404);
  });
});
