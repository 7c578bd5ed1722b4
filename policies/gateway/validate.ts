import type { Loaded } from "../load.ts";
import type { Path } from "../schema.ts";
import { objectsOf, selects, type Workload, type World } from "../world.ts";
import type { Say, WorldCheck } from "../world-check.ts";

export const validateGateways: WorldCheck = (world, say) => {
  for (const g of objectsOf(world, "networking.istio.io/Gateway")) {
    const selector = g.spec.selector ?? {};
    const path = ["spec", "selector"];
    if (Object.keys(selector).length === 0) {
      say("warning", "selects-nothing", g, path, "has no selector: no proxy serves it");
      continue;
    }
    const proxies = world.workloads.filter((w) => selects(selector, w.labels));
    if (proxies.length === 0) {
      say("warning", "selects-nothing", g, path, "the selector takes no workload: no proxy serves it");
      continue;
    }
    for (const [i, server] of g.spec.servers.entries())
      validatePort(world, say, g, ["spec", "servers", i, "port", "number"], server.port.number, proxies);
  }
};

/**
 * A port of a gateway is one of its Service, or one of its own (Istio, IST0104 GatewayPortNotOnWorkload): another one is
 * open, and nobody is led to it.
 */
export function validatePort(
  world: World,
  say: Say,
  gateway: Loaded,
  path: Path,
  port: number,
  proxies: readonly Workload[],
): void {
  const led = proxies.some(
    (w) =>
      w.ports.length === 0 || // containers need not name their ports
      w.ports.some((p) => p.port === port) ||
      world.services.some(
        (s) =>
          s.namespace === w.namespace &&
          s.selector !== null &&
          Object.keys(s.selector).length > 0 &&
          selects(s.selector, w.labels) &&
          s.ports.some((p) => p.number === port),
      ),
  );
  if (!led)
    say(
      "warning",
      "unreachable-port",
      gateway,
      path,
      `neither a Service nor a container of the gateway's pods (${proxies[0]!.namespace}/${proxies[0]!.name}) has port ${port}`,
    );
}
