import type { SourceRef, WorkloadIr } from "#ir/index.ts";
import { type Loaded, resolve, type Workload, type World } from "#policies/index.ts";
import { shortType } from "#xds/index.ts";
import type { Config } from "../config.ts";
import { resourcesFor } from "../pipeline.ts";
import type { Unwritten } from "../write/index.ts";

/**
 * What of the incoming objects could not be written for the proxies of `world`, which has them already; a line each, as
 * errors of apply. One proxy is written of all that differ in nothing that the objects say, so that the price is that of
 * the policies and not of the pods.
 */
export function unwritable(
  world: World,
  incoming: readonly Loaded[],
  before: World,
  config: Config,
): string[] {
  const mine = new Map(incoming.map((o) => [idOf(o.source), o.source]));
  const errors = new Map<string, string>();
  const seen = new Set<string>();
  const say = (source: SourceRef, pod: string, what: string): void => {
    const { file, line, kind, namespace, name } = source;
    const error = `${file}:${line}: ${kind} ${namespace === "" ? "" : `${namespace}/`}${name}: ${what}`;
    if (!errors.has(error)) errors.set(error, `${error} (for the proxy of ${pod})`);
  };
  for (const workload of world.workloads) {
    const first = incoming[0]!.source;
    try {
      const key = sightOf(resolve(world, workload), mine);
      if (seen.has(key)) continue;
      seen.add(key);
      for (const one of unwrittenOf(world, workload, config)) {
        const blamed = one.sources.filter((s) => mine.has(idOf(s)));
        const known = () => unwrittenOf(before, workload, config).some((b) => says(b) === says(one));
        for (const source of blamed) say(source, workload.pod, says(one));
        if (one.sources.length === 0 && !known()) say(first, workload.pod, says(one));
      }
    } catch (error) {
      say(first, workload.pod, `nothing can be written any more: ${(error as Error).message}`);
    }
  }
  return [...errors.values()];
}

const idOf = ({ kind, group, namespace, name }: SourceRef): string => `${group}/${kind} ${namespace}/${name}`;

function says({ typeUrl, name, host, reason }: Unwritten): string {
  return `cannot be written: ${shortType(typeUrl)} ${name}${host === null ? "" : `, virtual host ${host}`}: ${reason}`;
}

function unwrittenOf(world: World, { ip, namespace }: Workload, config: Config): readonly Unwritten[] {
  const node = { ip, namespace, serviceAccount: null, flavour: "weft" } as const;
  return resourcesFor(world, node, config)?.unwritten ?? [];
}

const numbers = new WeakMap<object, number>();
let last = 0;
function numberOf(object: object): number {
  const known = numbers.get(object) ?? ++last;
  numbers.set(object, known);
  return known;
}

/** Proxies that agree in this are written alike, as far as `mine` is concerned. */
function sightOf(ir: WorkloadIr, mine: ReadonlyMap<string, SourceRef>): string {
  const { audit, deny, allow } = ir.authorization;
  const own = [...audit, ...deny, ...allow, ...ir.gatewayListeners]
    .map(({ source }) => idOf(source))
    .filter((id) => mine.has(id));
  const services = ir.inbound.flatMap(({ service }) =>
    service !== null && mine.has(`/Service ${service.namespace}/${service.name}`) ? [service] : [],
  );
  const shared = [ir.clusters, ir.outboundHttp, ir.tcpServices].map(numberOf);
  return JSON.stringify([ir.kind, ir.interception.kind, shared, own, services]);
}
