import { findService, fullHost, unknownHost } from "../host.ts";
import type { Path } from "../schema.ts";
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
      for (const one of [{ path, policy }, ...portLevel(path, policy)])
        for (const [field, why] of idle(one.policy))
          say("warning", "not-carried-out", r, [...one.path, ...field], why);
  }
};

type Policy = NonNullable<
  ReturnType<typeof objectsOf<"networking.istio.io/DestinationRule">>[number]["spec"]["trafficPolicy"]
>;

function portLevel(path: Path, policy: Policy | undefined): { path: Path; policy: Partial<Policy> }[] {
  return (policy?.portLevelSettings ?? []).map((one, i) => ({
    path: [...path, "portLevelSettings", i],
    policy: one,
  }));
}

const LIMIT = "Weft's sidecars have no circuit breaking yet: no request is refused; a stock Envoy does it";

/** What is written for a stock Envoy and not done by our sidecars, or by none yet. */
function idle(policy: Partial<Policy> | undefined): [field: Path, why: string][] {
  const found: [Path, string][] = [];
  const tell = (value: unknown, field: Path, why: string): void => {
    if (value !== undefined) found.push([field, why]);
  };
  tell(
    policy?.outlierDetection,
    ["outlierDetection"],
    "Weft's sidecars eject no host yet; a stock Envoy does",
  );
  const { tcp, http } = policy?.connectionPool ?? {};
  tell(tcp?.maxConnections, ["connectionPool", "tcp", "maxConnections"], LIMIT);
  for (const limit of ["http1MaxPendingRequests", "http2MaxRequests"] as const)
    tell(http?.[limit], ["connectionPool", "http", limit], LIMIT);
  if (http?.h2UpgradePolicy === "UPGRADE")
    tell(
      true,
      ["connectionPool", "http", "h2UpgradePolicy"],
      "HTTP/2 is not there yet: requests go on as HTTP/1.1",
    );
  tell(
    http?.maxConcurrentStreams,
    ["connectionPool", "http", "maxConcurrentStreams"],
    "HTTP/2 is not there yet: a connection carries one request at a time",
  );
  tell(
    tcp?.maxConnectionDuration,
    ["connectionPool", "tcp", "maxConnectionDuration"],
    "Weft's sidecars end no connection for its age yet; a stock Envoy does",
  );
  for (const field of ["probes", "interval"] as const)
    tell(
      tcp?.tcpKeepalive?.[field],
      ["connectionPool", "tcp", "tcpKeepalive", field],
      "Weft's sidecars set only the time to the first probe (Node has no more); a stock Envoy sets all",
    );
  return found;
}
