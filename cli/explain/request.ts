import type { HeadView } from "#sidecar/snapshot.ts";
import { EXIT, UserError } from "../errors.ts";

/** What the person asks about. */
export interface AskedRequest {
  readonly method: string;
  /** Lower-case, without brackets. */
  readonly host: string;
  readonly port: number;
  readonly head: HeadView;
}

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** `GET http://reviews:9080/reviews/0` and `name: value` headers, as curl takes them. */
export function readRequest(method: string, target: string, headers: readonly string[]): AskedRequest {
  if (!TOKEN.test(method)) throw usage(`${JSON.stringify(method)} is no HTTP method`);
  let url: URL;
  try {
    url = new URL(target.includes("://") ? target : `http://${target}`);
  } catch {
    throw usage(`${JSON.stringify(target)} is no URL; write it as http://reviews:9080/reviews/0`);
  }
  if (url.protocol !== "http:")
    throw usage(`${url.protocol}//: only http:// is explained (mutual TLS between proxies is)`);
  const fields = new Map<string, string[]>();
  for (const header of headers) {
    const [, name, value] = /^([^:]+):\s*(.*)$/.exec(header) ?? [];
    if (name === undefined || value === undefined || !TOKEN.test(name))
      throw usage(`-H ${JSON.stringify(header)}: write it as "name: value"`);
    const key = name.toLowerCase();
    fields.set(key, [...(fields.get(key) ?? []), value]);
  }
  // The URL parser resolves dots and escapes; the proxies shall see what was typed.
  const rest = target.replace(/^[a-z]+:\/\//i, "");
  const slash = rest.search(/[/?]/);
  const typed = slash === -1 ? "/" : rest.slice(slash);
  const path = typed.startsWith("/") ? typed : `/${typed}`;
  const port = url.port === "" ? 80 : Number(url.port);
  const authority = fields.get("host")?.[0] ?? url.host;
  fields.delete("host");
  return {
    method,
    host: url.hostname.replace(/^\[|\]$/g, "").toLowerCase(),
    port,
    head: headOf(method, authority, path, fields),
  };
}

export function headOf(
  method: string,
  authority: string,
  path: string,
  fields: ReadonlyMap<string, readonly string[]>,
): HeadView {
  return {
    method,
    authority,
    path,
    get: (name) => fields.get(name)?.join(",") ?? null,
    getAll: (name) => fields.get(name) ?? [],
    has: (name) => fields.has(name),
  };
}

function usage(message: string): UserError {
  return new UserError(message, EXIT.usage);
}
