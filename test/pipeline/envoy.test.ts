/** A stock Envoy takes the resources of every case: nothing that the goldens show is refused (NACK). */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toWorld } from "#control-plane/pipeline.ts";
import { blame } from "#control-plane/serve/blame.ts";
import { type Loaded, load } from "#policies/index.ts";
import { Envoys, missingEnvoys } from "#test/harness/envoys.ts";
import { TYPE } from "#xds/index.ts";
import { cases, config, readWorld, resourcesOf } from "./case.ts";

const PODS = ["page-0", "reviews-v1-0", "gate-0"];

describe.skipIf(missingEnvoys !== "")(
  `a stock Envoy${missingEnvoys === "" ? "" : ` (skipped: ${missingEnvoys})`}`,
  () => {
    const first = readWorld(cases[0]!).world;
    let envoys: Envoys;
    beforeAll(async () => {
      const pods = PODS.map((pod) => ({ pod, ip: first.workloads.find((w) => w.pod === pod)!.ip }));
      envoys = await Envoys.start(pods, (pod) => resourcesOf(first, pod, "envoy-stock"));
    }, 60_000);
    afterAll(() => envoys.stop());

    test.each(cases)(
      "accepts %s",
      async (name) => {
        const { world } = readWorld(name);
        for (const pod of PODS) envoys.push(pod, resourcesOf(world, pod, "envoy-stock"));
        expect(await envoys.settled()).toEqual(new Map());
      },
      60_000,
    );

    test("names the policy behind what it refuses", async () => {
      const text = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: odd}
spec: {hosts: [reviews], http: [{match: [{uri: {exact: /x}}], route: [{destination: {host: reviews}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: even}
spec: {hosts: [ratings], http: [{timeout: 3s, route: [{destination: {host: ratings}}]}]}
`;
      // As if a check were missing.
      const objects = load(text, "odd.yaml").objects.map((o): Loaded => {
        const odd = <T>(value: T): T =>
          JSON.parse(JSON.stringify(value).replace('{"exact":"/x"}', '{"regex":"/(odd"}'));
        return { ...o, spec: odd(o.spec), raw: odd(o.raw) };
      });
      const world = toWorld([...first.objects, ...objects], config, first);
      const resources = resourcesOf(world, "page-0", "envoy-stock");
      envoys.push("page-0", resources);
      const nack = (await envoys.settled()).get("page-0")!;
      expect(nack).toBe("missing ): /(odd");
      expect(blame(world, TYPE.route, resources, nack)).toEqual([
        { object: "VirtualService default/odd", file: "odd.yaml", line: 4 },
      ]);
      envoys.push("page-0", resourcesOf(first, "page-0", "envoy-stock"));
      expect(await envoys.settled()).toEqual(new Map());
    }, 60_000);
  },
);
