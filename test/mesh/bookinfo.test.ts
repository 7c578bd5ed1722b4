/** The main job on the example, and policies as Istio's samples have them. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ask } from "#test/harness/ask.ts";
import { onEachDataPlane } from "#test/harness/each-data-plane.ts";
import { startLoad } from "#test/harness/load.ts";
import { sample } from "#test/harness/samples.ts";

const root = join(import.meta.dirname, "../..");
const CANARY = "policies/reviews-canary.yaml";
const versionOf = (html: string): string | undefined => /reviews-(v[123])</.exec(html)?.[1];

const from = join(root, "examples/bookinfo");
onEachDataPlane("bookinfo", { from, modes: ["explicit", "transparent"] }, (mesh, { mode }) => {
  const page = (cookie = ""): Promise<Response> =>
    fetch(`${mesh().gateway}/productpage`, { headers: cookie === "" ? {} : { cookie } });

  /** How often each version of reviews answered; a page without reviews counts as its status. */
  async function versions(count: number, cookie = ""): Promise<Record<string, number>> {
    const seen: Record<string, number> = {};
    for (let i = 0; i < count; i++) {
      const response = await page(cookie);
      const version = versionOf(await response.text()) ?? `no reviews, status ${response.status}`;
      seen[version] = (seen[version] ?? 0) + 1;
    }
    return seen;
  }

  // One run in 370 lies outside of 3 sigma by right, hence the retry.
  test("200 pages through the gateway: reviews v1 and v2 in 90/10 within 3 sigma", { retry: 1 }, async () => {
    const seen = await versions(200);
    expect(Object.keys(seen).sort()).toEqual(["v1", "v2"]);
    expect(Math.abs(seen["v1"]! - 180)).toBeLessThanOrEqual(3 * Math.sqrt(200 * 0.9 * 0.1));
  });

  test("plaintext to a STRICT port is refused", async () => {
    const { podIp } = mesh().pod("reviews-v1");
    const refused = await ask((c) => mesh().execOnNode(c), `http://${podIp}:9080/reviews/0`);
    expect(refused).toEqual({ status: 0, body: "ECONNRESET" });
  });

  test("a caller without permission gets 403 and Istio's body", async () => {
    const denied = await fetch(`${mesh().gateway}/api/v1/products/0/ratings`);
    expect(denied.status).toBe(403);
    expect(await denied.text()).toContain("RBAC: access denied");
  });

  // Long tests run in one mode: what they show does not depend on it.
  const testOnce = mode === "explicit" ? test : (): void => {};

  testOnce(
    "100 edits of the split in a row under load: each takes effect, no request fails",
    async () => {
      const load = startLoad({
        url: `${mesh().gateway}/productpage`,
        judge: (status, body) =>
          status === 200 && /v[12]/.test(versionOf(body) ?? "")
            ? null
            : `status ${status}, reviews ${versionOf(body)}`,
      });
      const times: number[] = [];
      mesh().edit(CANARY, (text) =>
        text.replace("weight: 90", "weight: 100").replace("weight: 10\n", "weight: 0\n"),
      );
      await expect.poll(() => versions(5), { timeout: 10_000, interval: 5 }).toEqual({ v1: 5 });
      for (let i = 1; i <= 100; i++) {
        const begin = performance.now();
        mesh().edit(CANARY, (text) =>
          text.replace(/weight: (0|100)$/gm, (_, weight) => `weight: ${100 - Number(weight)}`),
        );
        const wanted = i % 2 === 1 ? "v2" : "v1";
        await expect
          .poll(async () => versionOf(await (await page()).text()), { timeout: 10_000, interval: 5 })
          .toBe(wanted);
        times.push(performance.now() - begin);
      }
      expect(await load.stop()).toEqual([]);
      times.sort((a, b) => a - b);
      console.info(
        `${mesh().dataPlane}: 100 edits under load, ${load.sent()} requests, 0 failed; effect after ` +
          `${Math.round(times[49]!)} ms median, ${Math.round(times[94]!)} ms p95, ${Math.round(times[99]!)} ms at most`,
      );
    },
    120_000,
  );

  describe("policies in the shape of Istio's samples; in transparent mode Istio's own where they are at hand", () => {
    const apply = (name: string): Promise<void> =>
      mesh().apply(sample(`bookinfo/networking/${name}`, mode === "transparent"));

    async function login(user: string): Promise<string> {
      const answer = await fetch(`${mesh().gateway}/login`, {
        method: "POST",
        body: new URLSearchParams({ username: user }),
        redirect: "manual",
      });
      return answer.headers.getSetCookie()[0]!.split(";")[0]!;
    }

    /** GET of reviews as productpage calls it, for a user who signed in: seconds and body. */
    async function reviewsFor(user: string): Promise<{ seconds: number; body: string }> {
      const begin = performance.now();
      const { name } = mesh().pod("productpage-v1");
      const headers = { "end-user": user };
      const { body } = await ask((c) => mesh().exec(name, c), "http://reviews:9080/reviews/0", { headers });
      return { seconds: (performance.now() - begin) / 1000, body };
    }

    test("virtual-service-reviews-test-v2: jason always gets v2, others v1", async () => {
      await apply("virtual-service-reviews-test-v2");
      const jason = await login("jason");
      const other = await login("mary");
      await expect.poll(() => versions(5, jason), { timeout: 10_000 }).toEqual({ v2: 5 });
      expect(await versions(20, jason)).toEqual({ v2: 20 });
      expect(await versions(20, other)).toEqual({ v1: 20 });
      expect(await versions(20)).toEqual({ v1: 20 });
    });

    test("virtual-service-ratings-test-abort: jason sees that ratings are gone, others see no difference", async () => {
      await apply("virtual-service-ratings-test-abort");
      const jason = await login("jason");
      await expect
        .poll(async () => (await page(jason)).text(), { timeout: 10_000 })
        .toContain("Ratings service is currently unavailable");
      expect((await reviewsFor("jason")).body).toContain("Ratings service is currently unavailable");
      expect(await (await page()).text()).not.toContain("unavailable");
    });

    testOnce(
      "virtual-service-ratings-test-delay: jason's ratings come after 7 s, the page gave up waiting",
      async () => {
        await apply("virtual-service-ratings-test-delay");
        const jason = await login("jason");
        await expect
          .poll(async () => (await reviewsFor("jason")).seconds, { timeout: 20_000 })
          .toBeGreaterThanOrEqual(7);
        const [direct, shown, other] = await Promise.all([
          reviewsFor("jason"),
          page(jason).then((response) => response.text()),
          page().then((response) => response.text()),
        ]);
        expect(direct.seconds).toBeGreaterThanOrEqual(7);
        expect(direct.body).toContain('"stars":5');
        expect(shown).toContain("product reviews are currently unavailable"); // productpage waits 3 s
        expect(versionOf(other)).toBe("v1");
      },
      60_000,
    );

    test("weft delete brings back what the files say", async () => {
      await mesh().delete("VirtualService", "ratings");
      await mesh().delete("VirtualService", "reviews");
      const jason = await login("jason");
      await expect.poll(() => versions(5, jason), { timeout: 10_000 }).toEqual({ v1: 5 });
    });
  });
});
