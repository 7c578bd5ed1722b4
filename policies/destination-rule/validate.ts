import { findService, fullHost, unknownHost } from "../host.ts";
import { objectsOf } from "../world.ts";
import type { WorldCheck } from "../world-check.ts";

export const validateDestinationRules: WorldCheck = (world, say) => {
  for (const r of objectsOf(world, "networking.istio.io/DestinationRule")) {
    const host = fullHost(r.spec.host, r.namespace, world);
    if (!host.includes("*") && !findService(world, host))
      say("warning", "unknown-host", r, ["spec", "host"], unknownHost(world, host));
    const policies = [
      { path: ["spec", "trafficPolicy"], policy: r.spec.trafficPolicy },
      ...(r.spec.subsets ?? []).map((s, i) => ({
        path: ["spec", "subsets", i, "trafficPolicy"],
        policy: s.trafficPolicy,
      })),
    ];
    for (const { path, policy } of policies)
      if (
        policy?.outlierDetection !== undefined ||
        policy?.portLevelSettings?.some((s) => s.outlierDetection !== undefined)
      )
        say(
          "warning",
          "not-carried-out",
          r,
          [...path, "outlierDetection"],
          "Weft's sidecars eject no host yet; a stock Envoy does",
        );
  }
};
