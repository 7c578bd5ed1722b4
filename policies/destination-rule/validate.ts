import { findService, fullHost, unknownHost } from "../host.ts";
import { objectsOf, selects } from "../world.ts";
import type { WorldCheck } from "../world-check.ts";

export const validateDestinationRules: WorldCheck = (world, say) => {
  for (const r of objectsOf(world, "networking.istio.io/DestinationRule")) {
    const host = fullHost(r.spec.host, r.namespace, world);
    if (!host.includes("*") && !findService(world, host))
      say("warning", "unknown-host", r, ["spec", "host"], unknownHost(world, host));
    for (const [i, subset] of (r.spec.subsets ?? []).entries()) {
      const labels = subset.labels ?? {};
      const all = host.includes("*") ? [] : [...(world.endpoints.get(host)?.values() ?? [])].flat();
      if (all.length > 0 && !all.some((e) => selects(labels, e.labels)))
        say(
          "warning",
          "selects-nothing",
          r,
          ["spec", "subsets", i, "labels"],
          `no pod of ${host} has these labels: requests for the subset get 503`,
        );
    }
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
