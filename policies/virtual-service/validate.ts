import type { Protocol } from "#ir/cluster.ts";
import { admittedHosts } from "../gateways.ts";
import { findService, fullHost, hostMatches, unknownHost } from "../host.ts";
import type { Loaded } from "../load.ts";
import { objectsOf, type Service, seenTogether, type World } from "../world.ts";
import { place, type Say, type WorldCheck } from "../world-check.ts";
import { validateDeadValues } from "./dead-values.ts";
import { delegateFault, findVirtualService, rulesOf } from "./delegate.ts";
import { gatewayNames, type VirtualService } from "./resolve.ts";

export const validateVirtualServices: WorldCheck = (world, say) => {
  const services = objectsOf(world, "networking.istio.io/VirtualService");
  const gateways = new Map(
    objectsOf(world, "networking.istio.io/Gateway").map((g) => [`${g.namespace}/${g.name}`, g]),
  );
  const delegates = new Set(
    services.flatMap((v) =>
      (v.spec.http ?? []).flatMap((h) =>
        h.delegate ? `${h.delegate.namespace ?? v.namespace}/${h.delegate.name}` : [],
      ),
    ),
  );
  const hosts = new Map<string, VirtualService[]>();
  const subsets = subsetsOf(world);
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
    if ((vs.spec.hosts ?? []).length === 0) {
      if (!delegates.has(`${vs.namespace}/${vs.name}`))
        say("warning", "no-hosts", vs, ["spec"], "has no hosts, and no other VirtualService delegates to it");
      validateDelegateItself(say, vs);
    }
    validateGatewayHosts(world, say, vs, gateways);
    if (gatewayNames(vs.spec.gateways, vs.namespace).includes("mesh"))
      validateMeshHosts(world, say, vs, hosts);
    validateDestinations(world, say, vs, subsets);
    validateDelegates(world, say, vs);
    validateDeadValues(say, vs);
  }
};

/** A host that no server of a Gateway takes is served by nothing there. */
function validateGatewayHosts(
  world: World,
  say: Say,
  vs: VirtualService,
  gateways: ReadonlyMap<string, Loaded<"networking.istio.io/Gateway">>,
): void {
  const named = gatewayNames(vs.spec.gateways, vs.namespace).flatMap((name) => gateways.get(name) ?? []);
  for (const gateway of named)
    for (const [i, h] of (vs.spec.hosts ?? []).entries()) {
      const host = fullHost(h, vs.namespace, world);
      const hosts = gateway.spec.servers.flatMap((s) => s.hosts);
      if (admittedHosts(hosts, gateway.namespace, host, vs.namespace).length === 0)
        say(
          "warning",
          "host-not-admitted",
          vs,
          ["spec", "hosts", i],
          `no server of Gateway ${place(gateway)} takes ${host} from namespace ${vs.namespace} (${hosts.join(", ")})`,
        );
    }
}

/** `hosts`: who has which host already, oldest first. */
function validateMeshHosts(
  world: World,
  say: Say,
  vs: VirtualService,
  hosts: Map<string, VirtualService[]>,
): void {
  for (const [i, h] of (vs.spec.hosts ?? []).entries()) {
    const host = fullHost(h, vs.namespace, world);
    const others = hosts.get(host) ?? [];
    const first = others.find((o) => o !== vs && seenTogether(o, vs));
    if (first)
      say(
        "warning",
        "conflicting-host",
        vs,
        ["spec", "hosts", i],
        `${host} belongs to VirtualService ${place(first)}, the oldest; this one is ignored for it, except for clients whom no rule of that one concerns`,
      );
    hosts.set(host, [...others, vs]);
    const service = findService(world, host);
    if (service !== null) validateProtocols(say, vs, service, i);
    if (
      !first &&
      service === null &&
      !(host.includes("*") && world.services.some((s) => hostMatches(host, s.host)))
    )
      say(
        "warning",
        "unknown-host",
        vs,
        ["spec", "hosts", i],
        `${unknownHost(world, host)}: it is served on the HTTP ports of other services only`,
      );
  }
}

const CARRIED: Readonly<Record<"http" | "tls" | "tcp", readonly Protocol[]>> = {
  http: ["http", "http2", "grpc", "auto"],
  tls: ["tls"],
  tcp: ["tcp", "tls", "auto"],
};

/** Rules of a kind that no port of the service speaks. */
function validateProtocols(say: Say, vs: VirtualService, { host, ports }: Service, i: number): void {
  for (const kind of ["http", "tls", "tcp"] as const) {
    if ((vs.spec[kind] ?? []).length === 0 || ports.length === 0) continue;
    if (ports.some((p) => CARRIED[kind].includes(p.protocol))) continue;
    const spoken = ports.map((p) => `${p.number} ${p.name || "(no name)"}: ${p.protocol}`).join(", ");
    say(
      "warning",
      "wrong-protocol",
      vs,
      ["spec", "hosts", i],
      `its ${kind} rules have no effect for ${host}: no port speaks that (${spoken}); the port's name or appProtocol says what it speaks`,
    );
  }
}

interface Subsets {
  /** Host -> names of the subsets that some DestinationRule gives it. */
  readonly exact: ReadonlyMap<string, ReadonlySet<string>>;
  readonly wild: readonly { readonly pattern: string; readonly names: ReadonlySet<string> }[];
}

function subsetsOf(world: World): Subsets {
  const all = new Map<string, Set<string>>();
  for (const r of objectsOf(world, "networking.istio.io/DestinationRule")) {
    const host = fullHost(r.spec.host, r.namespace, world);
    const names = all.get(host) ?? new Set();
    for (const { name } of r.spec.subsets ?? []) names.add(name);
    all.set(host, names);
  }
  const wild = [...all].filter(([host]) => host.includes("*"));
  return { exact: all, wild: wild.map(([pattern, names]) => ({ pattern, names })) };
}

function validateDestinations(world: World, say: Say, vs: VirtualService, subsets: Subsets): void {
  for (const kind of ["http", "tls", "tcp"] as const)
    for (const [i, rule] of (vs.spec[kind] ?? []).entries())
      for (const [j, { destination: d }] of (rule.route ?? []).entries()) {
        const path = ["spec", kind, i, "route", j, "destination"];
        const host = fullHost(d.host, vs.namespace, world);
        const service = findService(world, host);
        if (service === null) {
          say("warning", "unknown-host", vs, [...path, "host"], unknownHost(world, host));
          continue;
        }
        const port = d.port?.number;
        if (port !== undefined && !service.ports.some((p) => p.number === port))
          say(
            "warning",
            "unknown-port",
            vs,
            [...path, "port", "number"],
            `${host} has no port ${port} (it has ${service.ports.map((p) => p.number).join(", ") || "none"}): ${FAILS[kind]}`,
          );
        const known =
          d.subset === undefined ||
          subsets.exact.get(host)?.has(d.subset) ||
          subsets.wild.some((w) => hostMatches(w.pattern, host) && w.names.has(d.subset!));
        if (!known)
          say(
            "warning",
            "unknown-subset",
            vs,
            [...path, "subset"],
            `no DestinationRule gives ${host} a subset "${d.subset}": ${FAILS[kind]}`,
          );
      }
}

const FAILS = {
  http: "requests get 503",
  tls: "connections are closed",
  tcp: "connections are closed",
} as const;

function validateDelegates(world: World, say: Say, vs: VirtualService): void {
  for (const [i, http] of (vs.spec.http ?? []).entries()) {
    if (!http.delegate) continue;
    const ns = http.delegate.namespace ?? vs.namespace;
    const target = findVirtualService(world, ns, http.delegate.name ?? "");
    const path = ["spec", "http", i, "delegate"];
    const fault = target === undefined ? null : delegateFault(vs, target);
    if (!target) say("error", "unknown-delegate", vs, path, `no VirtualService ${ns}/${http.delegate.name}`);
    else if (fault !== null) {
      const code = target.spec.http?.some((h) => h.delegate) ? "nested-delegate" : "not-a-delegate";
      say("error", code, vs, path, `${place(target)} ${fault}`);
    }
  }
  for (const { delegate, rule } of rulesOf(world, vs).dropped)
    say(
      "warning",
      "outside-of-root",
      delegate,
      ["spec", "http", rule],
      `matches what VirtualService ${place(vs)} does not hand on: the rule has no effect there (each match must lie inside one of the root's)`,
    );
}

/** What a delegate cannot say: its root says where it serves (Istio). */
function validateDelegateItself(say: Say, vs: VirtualService): void {
  for (const field of ["gateways", "tls", "tcp"] as const)
    if ((vs.spec[field] ?? []).length > 0)
      say(
        "warning",
        "not-carried-out",
        vs,
        ["spec", field],
        `has no effect: a VirtualService without hosts is a delegate, and a delegate's ${field} are not read`,
      );
}
