/** What is asked of the mesh to describe an object. */
import type {
  ServiceInfo,
  WorkloadInfo,
  WorkloadsAnswer,
  WorldAnswer,
} from "#control-plane/admin/contract.ts";
import type { PlatformStatus } from "#local/contract.ts";
import { AdminClient } from "../admin-client.ts";
import { type Listed, listing } from "../listing.ts";

export interface Facts {
  readonly objects: readonly Listed[];
  readonly workloads: readonly WorkloadInfo[];
  readonly services: readonly ServiceInfo[];
  readonly platform: PlatformStatus | null;
  /** Errors and warnings of the whole mesh, a line each: `FILE:LINE: Kind namespace/name: ...`. */
  readonly issues: readonly string[];
  readonly cwd: string;
  /** ms since the epoch. */
  readonly now: number;
}

/** Asks control plane and supervisor; without the latter `platform` is null. */
export async function factsOf(stateDir: string, cwd: string): Promise<Facts> {
  const admin = AdminClient.controlPlane(stateDir);
  const [{ objects, platform }, { workloads, services }, { errors, warnings }] = await Promise.all([
    listing(stateDir),
    admin.get<WorkloadsAnswer>("/workloads"),
    admin.get<WorldAnswer>("/world"),
  ]);
  const issues = [...errors.map((line) => `error: ${line}`), ...warnings.map((line) => `warning: ${line}`)];
  return { objects, workloads, services, platform, issues, cwd, now: Date.now() };
}

/** A label map that has all of the wanted pairs; an empty wish selects all, as in Istio's policies. */
export function hasAll(labels: Readonly<Record<string, string>>, wanted: unknown): boolean {
  return Object.entries((wanted ?? {}) as Record<string, string>).every(
    ([key, value]) => labels[key] === value,
  );
}

/** Services that a host of a VirtualService, DestinationRule or HTTPRoute names, seen from a namespace. */
export function servicesNamed(
  host: string,
  namespace: string,
  services: readonly ServiceInfo[],
): ServiceInfo[] {
  const full = host.includes(".") || host.startsWith("*") ? host : `${host}.${namespace}.`;
  return services.filter((s) => {
    if (host === "*") return true;
    if (host.startsWith("*.")) return s.host.endsWith(host.slice(1));
    return (
      s.host === full ||
      (!host.includes(".")
        ? s.host.startsWith(full)
        : s.host.startsWith(`${host}.svc.`) || s.host.startsWith(`${host}.`))
    );
  });
}
