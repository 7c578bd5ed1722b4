import type { HeadView } from "#sidecar/snapshot.ts";
import { EXIT, UserError } from "../errors.ts";

/** A request head as given on the command line; `with` makes what a route's rewrite leaves of it. */
export class RequestHead implements HeadView {
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly headers: ReadonlyMap<string, readonly string[]>;

  constructor(
    method: string,
    authority: string,
    path: string,
    headers: ReadonlyMap<string, readonly string[]>,
  ) {
    this.method = method;
    this.authority = authority;
    this.path = path;
    this.headers = headers;
  }
  get(name: string): string | null {
    // Matchers of xDS know the request line by these names.
    if (name === ":method") return this.method;
    if (name === ":authority" || name === "host") return this.authority;
    if (name === ":path") return this.path;
    return this.headers.get(name)?.join(",") ?? null;
  }
  getAll(name: string): readonly string[] {
    const value = this.headers.get(name);
    if (value !== undefined) return value;
    const own = this.get(name);
    return own === null ? [] : [own];
  }
  has(name: string): boolean {
    return this.get(name) !== null;
  }
  with(change: {
    authority?: string;
    path?: string;
    headers?: ReadonlyMap<string, readonly string[]>;
  }): RequestHead {
    return new RequestHead(
      this.method,
      change.authority ?? this.authority,
      change.path ?? this.path,
      change.headers ?? this.headers,
    );
  }
}

export interface Asked {
  readonly url: URL;
  readonly port: number;
  /** Null: a connection that carries no HTTP, tcp:// */
  readonly head: RequestHead | null;
}

function tcp(url: URL, target: string, more: boolean): Asked {
  if (more) throw new UserError(`${target}: a TCP connection has no method and no headers`, EXIT.usage);
  if (url.port === "" || url.hostname === "")
    throw new UserError(`${target}: say host and port, such as tcp://redis:6379`, EXIT.usage);
  return { url, port: Number(url.port), head: null };
}

/** `[METHOD] URL` and `name: value` headers, or tcp://host:port. */
export function parseRequest(words: readonly string[], fields: readonly string[]): Asked {
  const [first = "", second, ...more] = words;
  const [method, target] = second === undefined ? ["GET", first] : [first, second];
  if (more.length > 0) throw new UserError(`too many arguments: [METHOD] URL, then ${more[0]}?`, EXIT.usage);
  if (!/^[A-Za-z][A-Za-z-]*$/.test(method))
    throw new UserError(`${method}: not a method; say GET URL`, EXIT.usage);
  const text = /^[a-z][a-z+.-]*:\/\//i.test(target) ? target : `http://${target}`;
  if (!URL.canParse(text))
    throw new UserError(`${target}: not a URL such as http://reviews:9080/`, EXIT.usage);
  const url = new URL(text);
  if (url.protocol === "tcp:") return tcp(url, target, second !== undefined || fields.length > 0);
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw new UserError(`${target}: http://, https:// or tcp:// only`, EXIT.usage);
  const headers = new Map<string, readonly string[]>();
  for (const field of fields) {
    const colon = field.indexOf(":");
    if (colon < 1) throw new UserError(`-H ${JSON.stringify(field)}: say "name: value"`, EXIT.usage);
    const name = field.slice(0, colon).trim().toLowerCase();
    headers.set(name, [...(headers.get(name) ?? []), field.slice(colon + 1).trim()]);
  }
  const host = headers.get("host")?.[0];
  headers.delete("host");
  // The path as it was typed: URL would resolve the dots that proxies judge.
  const typed = /^[a-z][a-z+.-]*:\/\/[^/?#]*([^#]*)/i.exec(text)?.[1] ?? "/";
  const path = typed.startsWith("/") ? typed : `/${typed}`;
  return {
    url,
    port: url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port),
    head: new RequestHead(method.toUpperCase(), host ?? url.host, path, headers),
  };
}
