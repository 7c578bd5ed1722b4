/** A stock Envoy takes the resources of every case: nothing that the goldens show is refused (NACK). */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Envoys, missingEnvoys } from "#test/harness/envoys.ts";
import { cases, readWorld, resourcesOf } from "./case.ts";

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
  },
);
