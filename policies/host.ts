import type { PolicyWorld, Service } from "./world.ts";

type Services = Pick<PolicyWorld, "mesh" | "services">;

/** The domain that Istio's and Kubernetes' examples write, whatever the cluster's own is called. */
const USUAL_DOMAIN = "cluster.local";

/**
 * A host as written in an object of `namespace`: a name without dots is a service of that namespace; letter case says
 * nothing (RFC 4343); under another cluster domain `cluster.local` stands for it.
 */
export function fullHost(written: string, namespace: string, world: Services): string {
  const host = written.toLowerCase();
  const domain = world.mesh.clusterDomain;
  if (!host.includes(".") && !host.includes("*") && !host.includes(":"))
    return `${host}.${namespace}.svc.${domain}`;
  return domain !== USUAL_DOMAIN && host.endsWith(`.svc.${USUAL_DOMAIN}`)
    ? host.slice(0, -USUAL_DOMAIN.length) + domain
    : host;
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

/** For people: no service has this host; what they may have meant where it is nearly one. */
export function unknownHost(world: Services, host: string): string {
  const said = `no service has the host ${host}`;
  const [name = "", namespace, svc, ...rest] = host.split(".");
  // Istio takes a name with a dot as it stands: "reviews.shop" is no short form in an object.
  if (namespace === undefined || rest.length > 0 || (svc !== undefined && svc !== "svc")) return said;
  const full = `${name}.${namespace}.svc.${world.mesh.clusterDomain}`;
  return findService(world, full)?.host === full ? `${said} (write ${full})` : said;
}
