/** Endpoints of a cluster; a host is reused while its address stays, so that its counters and pools survive. */
import type { ClusterLoadAssignment } from "#xds/gen/envoy/config/endpoint/v3/endpoint_pb.js";
import type { HealthStatus, Host } from "../snapshot.ts";

const HEALTH: readonly HealthStatus[] = [
  "UNKNOWN",
  "HEALTHY",
  "UNHEALTHY",
  "DRAINING",
  "TIMEOUT",
  "DEGRADED",
];

export interface HostSet {
  readonly hosts: readonly Host[];
  readonly priorities: readonly (readonly Host[])[];
  readonly overprovisioningFactor: number;
}

export const NO_HOSTS: HostSet = { hosts: [], priorities: [], overprovisioningFactor: 140 };

/**
 * A host of the same address stays the same object, with its connections and counts; one that is gone is marked
 * `removed`.
 */
export function updateHosts(old: HostSet, wire: ClusterLoadAssignment): HostSet {
  const known = new Map(old.hosts.map((host) => [keyOf(host), host]));
  const hosts: Host[] = [];
  const priorities: Host[][] = [];
  for (const group of wire.endpoints) {
    const place = group.locality;
    for (const endpoint of group.lbEndpoints) {
      const inner = endpoint.hostIdentifier.case === "endpoint" ? endpoint.hostIdentifier.value : undefined;
      const address = inner?.address?.address;
      if (inner === undefined || (address?.case !== "socketAddress" && address?.case !== "pipe")) continue;
      const where =
        address.case === "pipe"
          ? { address: "", port: 0, pipe: address.value.path }
          : {
              address: address.value.address,
              port: address.value.portSpecifier.case === "portValue" ? address.value.portSpecifier.value : 0,
              pipe: null,
            };
      const key = keyOf(where);
      const host = known.get(key) ?? newHost(where);
      known.delete(key);
      const match = endpoint.metadata?.filterMetadata["envoy.transport_socket_match"] ?? {};
      host.weight = endpoint.loadBalancingWeight ?? 1;
      host.priority = group.priority;
      host.health = HEALTH[endpoint.healthStatus] ?? "UNKNOWN";
      host.locality =
        place === undefined
          ? ""
          : [place.region, place.zone, place.subZone].filter((p) => p !== "").join("/");
      host.hostname = inner.hostname;
      host.transportSocketMetadata = Object.fromEntries(
        Object.entries(match).map(([k, v]) => [k, String(v)]),
      );
      host.metadata = endpoint.metadata?.filterMetadata ?? {};
      hosts.push(host);
      while (priorities.length <= group.priority) priorities.push([]);
      priorities[group.priority]?.push(host);
    }
  }
  for (const gone of known.values()) gone.removed = true;
  return { hosts, priorities, overprovisioningFactor: wire.policy?.overprovisioningFactor ?? 140 };
}

function keyOf(host: { address: string; port: number; pipe: string | null }): string {
  return host.pipe ?? `${host.address}|${host.port}`;
}

export function newHost(where: { address: string; port: number; pipe: string | null }): Host {
  return {
    address: where.address,
    port: where.port,
    pipe: where.pipe,
    weight: 1,
    priority: 0,
    health: "UNKNOWN",
    locality: "",
    hostname: "",
    transportSocketMetadata: {},
    metadata: {},
    activeRequests: 0,
    activeConnections: 0,
    ejectedUntilMs: 0,
    consecutive5xx: 0,
    consecutiveGatewayFailure: 0,
    consecutiveLocalOriginFailure: 0,
    timesEjected: 0,
    removed: false,
  };
}
