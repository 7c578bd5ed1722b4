import { realpathSync } from "node:fs";
import { delimiter, join } from "node:path";
import { type ContainerSpec, type EnvSource, expand } from "./container-spec.ts";
import type { PlatformObject } from "./object.ts";
import { dataOf, downward, MissingError, type PodFields } from "./volumes/data.ts";

export interface EnvContext {
  readonly pod: PodFields;
  readonly objects: readonly PlatformObject[];
  /** What every program of the pod has; the least of all. */
  readonly base: Readonly<Record<string, string>>;
}

/**
 * The environment of a container in Kubernetes' order: what the platform gives, then envFrom, then env, each of which sees
 * those before it. Throws MissingError when a ConfigMap, a Secret or a key is awaited.
 */
export function containerEnv(
  container: ContainerSpec,
  { pod, objects, base }: EnvContext,
): Record<string, string> {
  const env: Record<string, string> = { ...base };
  for (const source of container.envFrom) Object.assign(env, fromSource(source, pod.namespace, objects));
  for (const { name, from } of container.env) {
    if ("value" in from) env[name] = expand(from.value, env);
    else if ("data" in from) {
      const what = `${from.data} ${pod.namespace}/${from.name}`;
      const data = dataOf(objects, from.data, pod.namespace, from.name);
      const value = data?.get(from.key);
      if (value !== undefined) env[name] = value.toString("utf8");
      else if (!from.optional)
        throw new MissingError(
          data === undefined ? `${what} does not exist` : `${what} has no key "${from.key}"`,
        );
    } else env[name] = downward(from, pod);
  }
  return env;
}

function fromSource(
  { prefix, data: kind, name, optional }: EnvSource,
  namespace: string,
  objects: readonly PlatformObject[],
): Record<string, string> {
  const data = dataOf(objects, kind, namespace, name);
  if (data === undefined) {
    if (optional) return {};
    throw new MissingError(`${kind} ${namespace}/${name} does not exist`);
  }
  return Object.fromEntries([...data].map(([key, value]) => [`${prefix}${key}`, value.toString("utf8")]));
}

const INHERITED = ["HOME", "LANG", "TZ", "TMPDIR", "XDG_CACHE_HOME", "NODE_EXTRA_CA_CERTS"];

/** What a program needs of the user's own environment. */
export function inheritedEnv(from: NodeJS.ProcessEnv = process.env): Record<string, string> {
  const env: Record<string, string> = {};
  for (const name of INHERITED) if (from[name] !== undefined) env[name] = from[name];
  if (from["PATH"] !== undefined) env["PATH"] = usersPath(from["PATH"]);
  return env;
}

/**
 * The user's PATH, with what npm and npx put before it for us at its end: `node` is the user's own where there is one, and
 * else the one that the mesh brings.
 */
export function usersPath(path: string, own = process.execPath): string {
  const folders = path.split(delimiter);
  const ours = folders.filter((folder) => isOurs(folder, own));
  const last = join(own, "..");
  return [
    ...folders.filter((folder) => !ours.includes(folder)),
    ...ours,
    ...(folders.includes(last) ? [] : [last]),
  ].join(delimiter);
}

function isOurs(folder: string, own: string): boolean {
  if (!/node_modules[/\\]\.bin[/\\]?$/.test(folder)) return false;
  try {
    return realpathSync(join(folder, "node")) === realpathSync(own);
  } catch {
    return false;
  }
}
