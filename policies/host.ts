import type { PolicyWorld, Service } from "./world.ts";

type Services = Pick<PolicyWorld, "mesh" | "services">;

/** A host as written in an object of `namespace`: a name without dots is a service of that namespace. */
export function fullHost(host: string, namespace: string, world: Services): string {
  return host.includes(".") || host.includes("*") || host.includes(":")
    ? host
    : `${host}.${namespace}.svc.${world.mesh.clusterDomain}`;
}

export function hostMatches(pattern: string, host: string): boolean {
  if (pattern === "*") return true;
  if (pattern.startsWith("*")) return host.endsWith(pattern.slice(1)) && host.length >= pattern.length;
  return pattern === host;
}

interface HostIndex {
  readonly exact: ReadonlyMap<string, Service>;
  readonly wild: readonly Service[];
}
const indices = new WeakMap<readonly Service[], HostIndex>();
function indexOf(services: readonly Service[]): HostIndex {
  let index = indices.get(services);
  if (index === undefined) {
    const exact = new Map<string, Service>();
    for (const s of services) if (!exact.has(s.host)) exact.set(s.host, s);
    index = { exact, wild: services.filter((s) => s.host.includes("*")) };
    indices.set(services, index);
  }
  return index;
}

export function findService(world: Services, host: string): Service | null {
  const { exact, wild } = indexOf(world.services);
  return exact.get(host) ?? wild.find((s) => hostMatches(s.host, host)) ?? null;
}

/** The Host header values under which a service is known in the caller's namespace. */
export function domainsOf(service: Service, namespace: string, world: Services): string[] {
  if (service.kind === "entry") return [service.host, ...service.addresses.filter((a) => !a.includes("/"))];
  const { host, name, namespace: ns } = service;
  const domains = [host, `${host}.`];
  if (ns === namespace) domains.push(name);
  domains.push(`${name}.${ns}.svc`, `${name}.${ns}`);
  for (const a of service.addresses) domains.push(a.includes(":") ? `[${a}]` : a);
  if (service.headless) domains.push(`*.${host}`);
  return world.mesh.clusterDomain === "" ? [name] : domains;
}
