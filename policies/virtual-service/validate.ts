import { findService, fullHost, hostMatches } from "../host.ts";
import type { Loaded } from "../load.ts";
import { objectsOf, type World } from "../world.ts";
import { place, type Say, type WorldCheck } from "../world-check.ts";
import { gatewayNames, type VirtualService } from "./resolve.ts";

export const validateVirtualServices: WorldCheck = (world, say) => {
  const services = objectsOf(world, "networking.istio.io/VirtualService");
  const gateways = new Set(
    objectsOf(world, "networking.istio.io/Gateway").map((g) => `${g.namespace}/${g.name}`),
  );
  const delegates = new Set(
    services.flatMap((v) =>
      (v.spec.http ?? []).flatMap((h) =>
        h.delegate ? `${h.delegate.namespace ?? v.namespace}/${h.delegate.name}` : [],
      ),
    ),
  );
  const hosts = new Map<string, Loaded>();
  for (const vs of services) {
    for (const [i, gateway] of gatewayNames(vs.spec.gateways, vs.namespace).entries())
      if (gateway !== "mesh" && !gateways.has(gateway))
        say(
          "warning",
          "unknown-gateway",
          vs,
          ["spec", "gateways", i],
          `no Gateway ${gateway}: it serves nothing there`,
        );
    if ((vs.spec.hosts ?? []).length === 0 && !delegates.has(`${vs.namespace}/${vs.name}`))
      say("warning", "no-hosts", vs, ["spec"], "has no hosts, and no other VirtualService delegates to it");
    if (gatewayNames(vs.spec.gateways, vs.namespace).includes("mesh"))
      validateMeshHosts(world, say, vs, hosts);
    validateDestinations(world, say, vs);
    validateDelegates(services, say, vs);
  }
};

/** `hosts`: who has which host already, oldest first. */
function validateMeshHosts(world: World, say: Say, vs: VirtualService, hosts: Map<string, Loaded>): void {
  for (const [i, h] of (vs.spec.hosts ?? []).entries()) {
    const host = fullHost(h, vs.namespace, world);
    const first = hosts.get(host);
    if (first)
      say(
        "warning",
        "conflicting-host",
        vs,
        ["spec", "hosts", i],
        `${host} belongs to VirtualService ${place(first)}, the oldest; this one is ignored for it`,
      );
    else hosts.set(host, vs);
    if (
      !first &&
      !findService(world, host) &&
      !(host.includes("*") && world.services.some((s) => hostMatches(host, s.host)))
    )
      say(
        "warning",
        "unknown-host",
        vs,
        ["spec", "hosts", i],
        `no service has the host ${host}: it is served on the HTTP ports of other services only`,
      );
  }
}

function validateDestinations(world: World, say: Say, vs: VirtualService): void {
  const rules = objectsOf(world, "networking.istio.io/DestinationRule");
  for (const [i, http] of (vs.spec.http ?? []).entries())
    for (const [j, { destination: d }] of (http.route ?? []).entries()) {
      const path = ["spec", "http", i, "route", j, "destination"];
      const host = fullHost(d.host, vs.namespace, world);
      if (!findService(world, host))
        say("warning", "unknown-host", vs, [...path, "host"], `no service has the host ${host}`);
      else if (
        d.subset !== undefined &&
        !rules.some(
          (r) =>
            fullHost(r.spec.host, r.namespace, world) === host &&
            r.spec.subsets?.some((s) => s.name === d.subset),
        )
      )
        say(
          "warning",
          "unknown-subset",
          vs,
          [...path, "subset"],
          `no DestinationRule gives ${host} a subset "${d.subset}": requests get 503`,
        );
    }
}

function validateDelegates(services: readonly VirtualService[], say: Say, vs: VirtualService): void {
  for (const [i, http] of (vs.spec.http ?? []).entries()) {
    if (!http.delegate) continue;
    const ns = http.delegate.namespace ?? vs.namespace;
    const target = services.find((v) => v.name === http.delegate!.name && v.namespace === ns);
    const path = ["spec", "http", i, "delegate"];
    if (!target) say("error", "unknown-delegate", vs, path, `no VirtualService ${ns}/${http.delegate.name}`);
    else if (target.spec.http?.some((h) => h.delegate))
      say(
        "error",
        "nested-delegate",
        vs,
        path,
        `${place(target)} delegates itself: only one level is allowed (this also refuses cycles)`,
      );
  }
}
