import { findService, fullHost, hostMatches } from "./host.ts";
import type { Loaded } from "./load.ts";
import { type Issue, type Path, showPath } from "./schema.ts";
import { gatewayNames } from "./virtual-service/resolve.ts";
import { objectsOf, selects, type World } from "./world.ts";

/** Checks that need the whole world: duplicates, conflicting or unknown hosts, subsets, delegates, idle policies. */
export function validate(world: World): Issue[] {
  const issues: Issue[] = [];
  const say = (level: Issue["level"], code: string, o: Loaded, path: Path, message: string): void => {
    const object =
      o.namespace === "" ? `${o.source.kind} ${o.name}` : `${o.source.kind} ${o.namespace}/${o.name}`;
    issues.push({
      level,
      code,
      message,
      file: o.source.file,
      line: o.line(path),
      object,
      path: showPath(path),
    });
  };
  const place = (o: Loaded): string => `${o.namespace}/${o.name} (${o.source.file}:${o.source.line})`;
  for (const { object, first } of world.duplicates)
    say(
      "error",
      "duplicate",
      object,
      ["metadata", "name"],
      `already defined at ${place(first)}, which counts: remove or rename one of them`,
    );
  const services = objectsOf(world, "networking.istio.io/VirtualService");
  const rules = objectsOf(world, "networking.istio.io/DestinationRule");
  const hosts = new Map<string, Loaded>();
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
    for (const [i, http] of (vs.spec.http ?? []).entries()) {
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
      if (http.delegate) {
        const ns = http.delegate.namespace ?? vs.namespace;
        const target = services.find((v) => v.name === http.delegate!.name && v.namespace === ns);
        const path = ["spec", "http", i, "delegate"];
        if (!target)
          say("error", "unknown-delegate", vs, path, `no VirtualService ${ns}/${http.delegate.name}`);
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
  }
  for (const r of rules) {
    const host = fullHost(r.spec.host, r.namespace, world);
    if (!host.includes("*") && !findService(world, host))
      say("warning", "unknown-host", r, ["spec", "host"], `no service has the host ${host}`);
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
  const policies = [
    ...objectsOf(world, "security.istio.io/AuthorizationPolicy"),
    ...objectsOf(world, "security.istio.io/PeerAuthentication"),
  ];
  for (const p of policies) {
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
  return issues;
}
