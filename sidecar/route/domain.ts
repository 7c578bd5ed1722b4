/** Virtual host domains: exact, then longest `*suffix`, then longest `prefix*`, then `*` (Envoy VirtualHost.domains). */
export class DomainIndex<T> {
  readonly #exact = new Map<string, T>();
  readonly #suffixes: [string, T][] = [];
  readonly #prefixes: [string, T][] = [];
  #any: T | null = null;

  /** False if the domain is there already: Envoy rejects such a RouteConfiguration. */
  add(domain: string, value: T): boolean {
    const name = domain.toLowerCase();
    if (name === "*") {
      if (this.#any !== null) return false;
      this.#any = value;
      return true;
    }
    if (name.startsWith("*")) return insert(this.#suffixes, name.slice(1), value);
    if (name.endsWith("*")) return insert(this.#prefixes, name.slice(0, -1), value);
    if (this.#exact.has(name)) return false;
    this.#exact.set(name, value);
    return true;
  }

  find(host: string): T | null {
    const name = host.toLowerCase();
    const exact = this.#exact.get(name);
    if (exact !== undefined) return exact;
    // A wildcard stands for at least one character.
    for (const [suffix, value] of this.#suffixes)
      if (name.length > suffix.length && name.endsWith(suffix)) return value;
    for (const [prefix, value] of this.#prefixes)
      if (name.length > prefix.length && name.startsWith(prefix)) return value;
    return this.#any;
  }
}

function insert<T>(list: [string, T][], text: string, value: T): boolean {
  if (list.some(([other]) => other === text)) return false;
  list.push([text, value]);
  list.sort((a, b) => b[0].length - a[0].length);
  return true;
}
