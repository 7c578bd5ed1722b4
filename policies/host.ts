import type { Alias, Instance, PolicyWorld, Service } from "./world.ts";

type Services = Pick<PolicyWorld, "mesh" | "services">;

/** The domain that Istio's and Kubernetes' examples write, whatever the cluster's own is called. */
const USUAL_DOMAIN = "cluster.local";

/**
 * A host as written in an object of `namespace`: a name without dots is a service of that namespace; letter case says
 * nothing (RFC 4343); under another cluster domain `cluster.local` stands for it; an alias is what it leads to.
 */
export function fullHost(written: string, namespace: string, world: Services): string {
  const host = withDomain(written, namespace, world);
  return indexOf(world).aliases.get(host) ?? host;
}

function withDomain(written: string, namespace: string, world: Services): string {
  const host = written.toLowerCase();
  const domain = world.mesh.clusterDomain;
  if (!host.includes(".") && !host.includes("*") && !host.includes(":"))
    return `${host}.${namespace}.svc.${domain}`;
  return domain !== USUAL_DOMAIN && host.endsWith(`.svc.${USUAL_DOMAIN}`)
    ? host.slice(0, -USUAL_DOMAIN.length) + domain
    : host;
}

/** A pattern is a host, `*` or `*.suffix`; both in lower case. */
export function hostMatches(pattern: string, host: string): boolean {
  if (pattern === "*") return true;
  if (pattern.startsWith("*")) return host.endsWith(pattern.slice(1)) && host.length >= pattern.length;
  return pattern === host;
}

interface HostIndex {
  readonly exact: ReadonlyMap<string, Service>;
  readonly wild: readonly Service[];
  /** Full name of an alias -> the host that it stands for. */
  readonly aliases: ReadonlyMap<string, string>;
}
const indices = new WeakMap<readonly Service[], HostIndex>();
function indexOf({ services, mesh }: Services): HostIndex {
  let index = indices.get(services);
  if (index === undefined) {
    const aliases = services.flatMap((s) =>
      s.aliases.map((a) => [`${a.name}.${a.namespace}.svc.${mesh.clusterDomain}`, s.host] as const),
    );
    const exact = new Map<string, Service>();
    for (const s of services) if (!exact.has(s.host)) exact.set(s.host, s);
    index = { exact, wild: services.filter((s) => s.host.includes("*")), aliases: new Map(aliases) };
    indices.set(services, index);
  }
  return index;
}

/** `host` in full and lower case. An exact name goes before a wildcard; null: none has it. */
export function findService(world: Services, host: string): Service | null {
  const { exact, wild } = indexOf(world);
  return exact.get(host) ?? wild.find((s) => hostMatches(s.host, host)) ?? null;
}

/** The Host header values under which a service is known in the caller's namespace. */
export function domainsOf(service: Service, namespace: string, world: Services): string[] {
  const aliases = service.aliases.flatMap((a) => namesOf(a, namespace, world));
  if (service.kind === "entry")
    return [service.host, ...service.addresses.filter((a) => !a.includes("/")), ...aliases];
  const domains = namesOf(service, namespace, world);
  for (const a of service.addresses) domains.push(a.includes(":") ? `[${a}]` : a);
  if (service.headless) domains.push(`*.${service.host}`);
  return [...domains, ...aliases];
}

/** Those of one pod of a headless service. */
export function instanceDomains(
  service: Service,
  instance: Instance,
  namespace: string,
  world: Services,
): string[] {
  return [service, ...service.aliases]
    .flatMap((s) => namesOf(s, namespace, world))
    .map((name) => `${instance.name}.${name}`);
}

/** Every form that Kubernetes' DNS knows of a Service; without the namespace only inside of it. */
function namesOf({ name, namespace: ns }: Alias, from: string, world: Services): string[] {
  if (world.mesh.clusterDomain === "") return [name];
  const host = `${name}.${ns}.svc.${world.mesh.clusterDomain}`;
  return [host, `${host}.`, ...(ns === from ? [name] : []), `${name}.${ns}.svc`, `${name}.${ns}`];
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
