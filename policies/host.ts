import type { Service, World } from "./world.ts";

/** A host as written in an object of `namespace`: a name without dots is a service of that namespace. */
export function fullHost(host: string, namespace: string, world: World): string {
  return host.includes(".") || host.includes("*") || host.includes(":")
    ? host
    : `${host}.${namespace}.svc.${world.mesh.clusterDomain}`;
}

export function hostMatches(pattern: string, host: string): boolean {
  if (pattern === "*") return true;
  if (pattern.startsWith("*")) return host.endsWith(pattern.slice(1)) && host.length >= pattern.length;
  return pattern === host;
}

export function findService(world: World, host: string): Service | null {
  return (
    world.services.find((s) => s.host === host) ??
    world.services.find((s) => hostMatches(s.host, host)) ??
    null
  );
}

/** XDS.md 3.2: the Host header values under which a service is known in the caller's namespace. */
export function domainsOf(service: Service, namespace: string, world: World): string[] {
  if (service.kind === "entry") return [service.host, ...service.addresses.filter((a) => !a.includes("/"))];
  const { host, name, namespace: ns } = service;
  const domains = [host, `${host}.`];
  if (ns === namespace) domains.push(name);
  domains.push(`${name}.${ns}.svc`, `${name}.${ns}`);
  for (const a of service.addresses) domains.push(a.includes(":") ? `[${a}]` : a);
  if (service.headless) domains.push(`*.${host}`);
  return world.mesh.clusterDomain === "" ? [name] : domains;
}
