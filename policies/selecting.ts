import type { Loaded } from "./load.ts";
import { selects, type World } from "./world.ts";
import type { Say } from "./world-check.ts";

type Selecting = Loaded<"security.istio.io/AuthorizationPolicy" | "security.istio.io/PeerAuthentication">;

/** Of a policy that selects workloads by label: is it carried out, and on whom. */
export function validateSelecting(world: World, say: Say, p: Selecting): void {
  if (p.annotations["istio.io/dry-run"] === "true")
    say(
      "warning",
      "not-carried-out",
      p,
      ["metadata", "annotations", "istio.io/dry-run"],
      "Weft's sidecars have no dry run yet: the policy does nothing there; a stock Envoy counts what it would do",
    );
  const labels = p.spec.selector?.matchLabels;
  const reach = world.workloads.filter(
    (w) => p.namespace === world.mesh.rootNamespace || w.namespace === p.namespace,
  );
  if (labels && Object.keys(labels).length > 0 && !reach.some((w) => selects(labels, w.labels)))
    say("warning", "selects-nothing", p, ["spec", "selector"], "the selector takes no workload");
}
