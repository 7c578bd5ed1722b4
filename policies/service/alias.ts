/** ExternalName Services: another name of a service of the mesh, or of a host outside. */
import type { Loaded } from "../load.ts";
import type { Alias, MeshSettings, Service } from "../world.ts";

export interface ExternalName extends Alias {
  /** As written, without a trailing dot. */
  readonly target: string;
}

/** Targets in lower case, without a trailing dot. */
export function externalNames(services: readonly Loaded<"/Service">[]): ExternalName[] {
  return services
    .filter((s) => s.spec.type === "ExternalName" && s.spec.externalName !== undefined)
    .map(({ name, namespace, spec }) => ({
      name,
      namespace,
      target: spec.externalName!.toLowerCase().replace(/\.$/, ""),
    }));
}

/**
 * Services, each with the aliases that lead to it. An alias of one of them is no service by itself: it is as if the
 * target had been named (Istio, ENABLE_EXTERNAL_NAME_ALIAS). One that leads in a circle leads nowhere.
 */
export function withAliases(
  services: readonly Service[],
  names: readonly ExternalName[],
  mesh: MeshSettings,
): readonly Service[] {
  if (names.length === 0) return services;
  const { targets, circles } = followed(services, names, mesh);
  const ofTarget = Map.groupBy([...targets], ([, host]) => host);
  return services
    .filter((s) => !targets.has(s.host) && !circles.has(s.host))
    .map((s) => {
      const found = ofTarget.get(s.host);
      if (found === undefined) return s;
      const aliases = found.map(([host]): Alias => {
        const [name = "", namespace = ""] = host.split(".");
        return { name, namespace };
      });
      return { ...s, aliases };
    });
}

interface Followed {
  /** Full name of an alias -> host of the service at the end of its chain. */
  readonly targets: ReadonlyMap<string, string>;
  /** Full names that lead back to themselves. */
  readonly circles: ReadonlySet<string>;
}

/** Goes from alias to alias; a chain that ends at a host outside of the mesh is in neither set. */
export function followed(
  services: readonly Pick<Service, "host">[],
  names: readonly ExternalName[],
  mesh: MeshSettings,
): Followed {
  const fullName = ({ name, namespace }: Alias): string => `${name}.${namespace}.svc.${mesh.clusterDomain}`;
  const byName = new Map(names.map((n) => [fullName(n), n]));
  const hosts = new Set(services.map((s) => s.host));
  const targets = new Map<string, string>();
  const circles = new Set<string>();
  for (const [start, first] of byName) {
    const seen = new Set([start]);
    let at: ExternalName | undefined = first;
    while (at !== undefined) {
      const next: string | undefined = formsOf(at, mesh).find((form) => hosts.has(form));
      if (next === undefined) break; // a host outside
      at = byName.get(next);
      if (at === undefined) targets.set(start, next);
      else if (seen.has(next)) {
        circles.add(start);
        break;
      }
      seen.add(next);
    }
  }
  return { targets, circles };
}

/** What a target may mean, the likeliest first: a name of a Service in each of its forms, or a host as it stands. */
function formsOf({ target, namespace }: ExternalName, mesh: MeshSettings): string[] {
  const labels = target.split(".");
  const domain = `svc.${mesh.clusterDomain}`;
  if (labels.length === 1) return [`${target}.${namespace}.${domain}`, target];
  if (labels.length === 2) return [`${target}.${domain}`, target];
  if (labels.length === 3 && labels[2] === "svc") return [`${target}.${mesh.clusterDomain}`, target];
  return [target];
}
