import { hostMatches } from "../host.ts";
import type { Loaded } from "../load.ts";
import type { Path } from "../schema.ts";
import { objectsOf, type World } from "../world.ts";
import type { Say, WorldCheck } from "../world-check.ts";
import { backendFault, type HttpRoute } from "./resolve.ts";

type KubeGateway = Loaded<"gateway.networking.k8s.io/Gateway">;

export const validateHttpRoutes: WorldCheck = (world, say) => {
  const gateways = new Map(
    objectsOf(world, "gateway.networking.k8s.io/Gateway").map((g) => [`${g.namespace}/${g.name}`, g]),
  );
  for (const route of objectsOf(world, "gateway.networking.k8s.io/HTTPRoute")) {
    validateParents(world, say, route, gateways);
    for (const [i, rule] of (route.spec.rules ?? []).entries())
      for (const [j, backend] of (rule.backendRefs ?? []).entries()) {
        const fault = backendFault(world, route, backend);
        if (fault === null) continue;
        const [code, text] = fault;
        say("warning", code, route, ["spec", "rules", i, "backendRefs", j], `${text}: its share gets 500`);
      }
  }
};

function validateParents(
  world: World,
  say: Say,
  route: HttpRoute,
  gateways: ReadonlyMap<string, KubeGateway>,
): void {
  const parents = route.spec.parentRefs ?? [];
  if (parents.length === 0)
    say("warning", "no-parents", route, ["spec"], "has no parentRefs: it serves nowhere");
  for (const [i, p] of parents.entries()) {
    const path = ["spec", "parentRefs", i];
    const name = `${p.namespace ?? route.namespace}/${p.name}`;
    const kind = p.kind ?? "Gateway";
    if (kind === "Service") {
      const service = world.services.find(
        (s) =>
          s.kind === "kubernetes" && s.name === p.name && s.namespace === (p.namespace ?? route.namespace),
      );
      if (service === undefined) say("warning", "unknown-host", route, path, `no Service ${name}`);
      else if (p.port !== undefined && !service.ports.some((q) => q.number === p.port))
        say("warning", "unknown-port", route, [...path, "port"], `Service ${name} has no port ${p.port}`);
    } else if (kind !== "Gateway")
      say("warning", "unknown-parent", route, path, `a parent is a Gateway or a Service, not a ${kind}`);
    else {
      const gateway = gateways.get(name);
      if (gateway === undefined)
        say("warning", "unknown-gateway", route, path, `no Gateway ${name}: it serves nothing there`);
      else validateGateway(say, route, path, gateway, p);
    }
  }
}

type ParentRef = NonNullable<HttpRoute["spec"]["parentRefs"]>[number];

function validateGateway(say: Say, route: HttpRoute, path: Path, gateway: KubeGateway, p: ParentRef): void {
  const name = `${gateway.namespace}/${gateway.name}`;
  const named = gateway.spec.listeners.filter(
    (l) =>
      (p.sectionName === undefined || p.sectionName === l.name) &&
      (p.port === undefined || p.port === l.port),
  );
  if (named.length === 0) {
    const has = gateway.spec.listeners.map((l) => `${l.name} at ${l.port}`).join(", ");
    const wanted = [p.sectionName, p.port].filter((x) => x !== undefined).join(" at ");
    say(
      "warning",
      "unknown-listener",
      route,
      path,
      `Gateway ${name} has no listener ${wanted} (it has ${has})`,
    );
    return;
  }
  const open = named.filter(
    (l) => route.namespace === gateway.namespace || l.allowedRoutes?.namespaces?.from === "All",
  );
  if (open.length === 0) {
    say(
      "warning",
      "not-allowed",
      route,
      path,
      `Gateway ${name} takes no routes of namespace ${route.namespace}: its allowedRoutes.namespaces.from would have to be All`,
    );
    return;
  }
  for (const [i, h] of (route.spec.hostnames ?? []).entries())
    if (!open.some((l) => intersects(l.hostname ?? "*", h)))
      say(
        "warning",
        "host-not-admitted",
        route,
        ["spec", "hostnames", i],
        `no listener of Gateway ${name} takes ${h} (${open.map((l) => l.hostname ?? "*").join(", ")})`,
      );
}

function intersects(a: string, b: string): boolean {
  return hostMatches(a, b) || hostMatches(b, a);
}
