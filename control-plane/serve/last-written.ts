import { Memo } from "#lib/memo.ts";
import { type PackedResource, type ResourceSet, shortType } from "#xds/index.ts";
import { type Configuration, packed } from "../pipeline.ts";
import { type Unwritten, withFormerHost } from "../write/index.ts";

/** What a proxy gets, and what must be said of it. */
export interface Completed {
  readonly resources: ResourceSet;
  /** One sentence for each part that could not be written, with the place that is to blame. */
  readonly failures: readonly string[];
}

/**
 * What could not be written stays as the proxy last had it. Where nothing is known of it, it is absent: a listener
 * refuses everybody, a virtual host answers 503, a cluster that is missing answers 503.
 */
export function complete({ resources, unwritten }: Configuration, former: ResourceSet | null): Completed {
  if (unwritten.length === 0) return { resources, failures: [] };
  const set = new Map(resources);
  const failures = unwritten.map((one) => {
    const before = former?.get(one.typeUrl)?.get(one.name);
    const kept = before === undefined ? null : formerly(one, set.get(one.typeUrl)?.get(one.name), before);
    if (kept !== null) set.set(one.typeUrl, new Map(set.get(one.typeUrl)).set(one.name, kept));
    return sayUnwritten(one, kept !== null);
  });
  return { resources: set, failures };
}

const patched = new Memo<{ readonly resource: PackedResource | null }>();

function formerly(
  { host }: Unwritten,
  now: PackedResource | undefined,
  before: PackedResource,
): PackedResource | null {
  if (host === null) return before;
  if (now === undefined) return null;
  return patched.get(before, JSON.stringify([now.version, host]), () => {
    const made = withFormerHost(now.any.value, before.any.value, host);
    return { resource: made === null ? null : packed(made) };
  }).resource;
}

function sayUnwritten({ typeUrl, name, host, reason, sources }: Unwritten, kept: boolean): string {
  const type = shortType(typeUrl);
  const what = `${type} ${name}${host === null ? "" : `, virtual host ${host},`} cannot be written`;
  const state = kept
    ? "what was written of it before stays"
    : host === null
      ? type === "Listener"
        ? "it is left out: connections to it are refused"
        : "it is left out"
      : "its requests are answered 503";
  const [first, ...others] = sources.map(
    ({ file, line, kind, namespace, name: object }) => `${file}:${line}: ${kind} ${namespace}/${object}`,
  );
  const also = others.length === 0 ? "" : ` (or ${[...new Set(others)].slice(0, 4).join(", ")})`;
  return `${first === undefined ? "" : `${first}${also}: `}${what}: ${reason}; ${state}`;
}
