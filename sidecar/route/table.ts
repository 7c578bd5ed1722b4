/** A RouteConfiguration compiled: host -> virtual host -> first matching route. */
import type { HeaderMutations, HeadView, Route, VirtualHost } from "../snapshot.ts";
import { DomainIndex } from "./domain.ts";

export interface RouteHit {
  readonly virtualHost: VirtualHost;
  readonly route: Route;
}

export class RouteTable {
  readonly name: string;
  readonly virtualHosts: readonly VirtualHost[];
  readonly headers: HeaderMutations | null;
  readonly #index: DomainIndex<VirtualHost>;
  readonly #ignorePort: boolean;

  /** @param ignorePort ignore_port_in_host_matching */
  constructor(
    name: string,
    virtualHosts: readonly VirtualHost[],
    ignorePort: boolean,
    headers: HeaderMutations | null = null,
  ) {
    this.name = name;
    this.virtualHosts = virtualHosts;
    this.headers = headers;
    this.#ignorePort = ignorePort;
    this.#index = new DomainIndex();
    for (const host of virtualHosts) for (const domain of host.domains) this.#index.add(domain, host);
  }

  findVirtualHost(authority: string): VirtualHost | null {
    return this.#index.find(this.#ignorePort ? withoutPort(authority) : authority);
  }

  /** The virtual host alone when no route of it matches; null when no domain does. Both are 404 (NR). */
  find(head: HeadView): RouteHit | { virtualHost: VirtualHost; route: null } | null {
    const virtualHost = this.findVirtualHost(head.authority);
    if (virtualHost === null) return null;
    const hash = head.path.indexOf("#");
    const target = hash < 0 ? head.path : head.path.slice(0, hash);
    const mark = target.indexOf("?");
    const path = mark < 0 ? target : target.slice(0, mark);
    const query = mark < 0 ? "" : target.slice(mark + 1);
    for (const route of virtualHost.routes) {
      if (route.match.matches(head, path, query)) return { virtualHost, route };
    }
    return { virtualHost, route: null };
  }
}

/** Brackets of an IPv6 address stay. */
export function withoutPort(authority: string): string {
  const colon = authority.lastIndexOf(":");
  if (colon < 0 || authority.indexOf("]", colon) >= 0) return authority;
  // A bare IPv6 address has several colons and no brackets: it has no port to take away.
  if (!authority.startsWith("[") && authority.indexOf(":") !== colon) return authority;
  for (let i = colon + 1; i < authority.length; i++) {
    const c = authority.charCodeAt(i);
    if (c < 48 || c > 57) return authority;
  }
  return authority.slice(0, colon);
}
