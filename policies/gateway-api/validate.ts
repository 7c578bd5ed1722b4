import { validatePort } from "../gateway/validate.ts";
import { GATEWAY_LABEL } from "../gateways.ts";
import { objectsOf } from "../world.ts";
import type { WorldCheck } from "../world-check.ts";

export const validateKubeGateways: WorldCheck = (world, say) => {
  for (const g of objectsOf(world, "gateway.networking.k8s.io/Gateway")) {
    const proxies = world.workloads.filter(
      (w) => w.namespace === g.namespace && w.labels[GATEWAY_LABEL] === g.name,
    );
    if (proxies.length === 0)
      say(
        "warning",
        "selects-nothing",
        g,
        ["spec"],
        `no pod of ${g.namespace} has the label ${GATEWAY_LABEL}: ${g.name}, so no proxy serves it`,
      );
    else
      for (const [i, l] of g.spec.listeners.entries())
        validatePort(world, say, g, ["spec", "listeners", i, "port"], l.port, proxies);
  }
};
