import { validatePort } from "../gateway/validate.ts";
import { GATEWAY_LABEL } from "../gateways.ts";
import { objectsOf } from "../world.ts";
import type { WorldCheck } from "../world-check.ts";

/** Gateways of these classes get their proxy by themselves (local/gateway-proxies.ts; on Kubernetes istiod makes it). */
const SERVED_CLASSES = ["istio", "weft"];
const CONTROLLERS = ["istio.io/gateway-controller", "weft.dev/gateway-controller"];

export const validateKubeGateways: WorldCheck = (world, say) => {
  const served = new Set(SERVED_CLASSES);
  for (const { name, spec } of objectsOf(world, "gateway.networking.k8s.io/GatewayClass"))
    if (CONTROLLERS.includes(spec.controllerName)) served.add(name);
  for (const g of objectsOf(world, "gateway.networking.k8s.io/Gateway")) {
    const proxies = world.workloads.filter(
      (w) => w.namespace === g.namespace && w.labels[GATEWAY_LABEL] === g.name,
    );
    if (proxies.length === 0) {
      if (!served.has(g.spec.gatewayClassName))
        say(
          "warning",
          "selects-nothing",
          g,
          ["spec", "gatewayClassName"],
          `class ${g.spec.gatewayClassName} is not served here (${SERVED_CLASSES.join(" and ")} are), and no pod of ${g.namespace} has the label ${GATEWAY_LABEL}: ${g.name}, so no proxy serves it`,
        );
    } else
      for (const [i, l] of g.spec.listeners.entries())
        validatePort(world, say, g, ["spec", "listeners", i, "port"], l.port, proxies);
  }
};
