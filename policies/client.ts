import { Memo } from "#lib/memo.ts";
import { objectsOf, type PolicyWorld, type Workload } from "./world.ts";

/**
 * A workload as the policies about its outbound traffic see it: its namespace, and of its labels only those that some
 * policy asks for, so that all proxies of a namespace share what is made for one.
 */
export interface Client {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

const asked = new Memo<ReadonlySet<string>>();
const clients = new Memo<Client>();

/** The same object for all workloads that no policy tells apart, so that it can be a key. */
export function clientOf(world: PolicyWorld, workload: Pick<Workload, "namespace" | "labels">): Client {
  const keys = asked.get(world.objects, "", () => labelsAsked(world));
  const labels = Object.fromEntries(
    Object.entries(workload.labels)
      .filter(([key]) => keys.has(key))
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
  const client = { namespace: workload.namespace, labels };
  return clients.get(world.objects, JSON.stringify(client), () => client);
}

function labelsAsked(world: PolicyWorld): ReadonlySet<string> {
  const keys = new Set<string>();
  const add = (labels: Readonly<Record<string, string>> | undefined): void => {
    for (const key in labels) keys.add(key);
  };
  for (const { spec } of objectsOf(world, "networking.istio.io/VirtualService"))
    for (const rule of [...(spec.http ?? []), ...(spec.tls ?? []), ...(spec.tcp ?? [])])
      for (const match of rule.match ?? []) add(match.sourceLabels);
  for (const { spec } of objectsOf(world, "networking.istio.io/DestinationRule"))
    add(spec.workloadSelector?.matchLabels);
  return keys;
}
