/** Objects as `get` and `describe` show them: what the control plane has, with what the platform says of it. */
import type { ListedObject, ObjectsAnswer } from "#control-plane/admin/contract.ts";
import type { PlatformStatus, PodStatus, WorkloadStatus } from "#local/contract.ts";
import { AdminClient } from "./admin-client.ts";
import { notFound, resourceName, type Wanted } from "./kind-names.ts";
import { platformStatus } from "./platform-client.ts";
import type { Selector } from "./selector.ts";

export interface Listed {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly manifest: Manifest;
  /** Null: the platform made it, such as the Job of a CronJob. */
  readonly source: { readonly file: string; readonly line: number } | null;
  readonly warnings: readonly string[];
  readonly pod: PodStatus | null;
  readonly workload: WorkloadStatus | null;
}

export interface Manifest {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: {
    readonly name?: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly { readonly kind?: string; readonly name: string }[];
  };
  readonly spec?: Readonly<Record<string, unknown>>;
  readonly status?: Readonly<Record<string, unknown>>;
}

export interface Listing {
  readonly objects: readonly Listed[];
  readonly platform: PlatformStatus | null;
}

const API: Readonly<Record<string, string>> = { Job: "batch/v1", ReplicaSet: "apps/v1", Pod: "v1" };

/** Everything that the mesh runs on, by kind, namespace and name. */
export async function listing(stateDir: string): Promise<Listing> {
  const { objects } = await AdminClient.controlPlane(stateDir).get<ObjectsAnswer>("/objects");
  const platform = await platformStatus(stateDir).catch(() => null); // a control plane alone has none
  const key = (kind: string, namespace: string, name: string): string => `${kind} ${namespace}/${name}`;
  const pods = new Map(platform?.pods.map((pod) => [key("Pod", pod.namespace, pod.name), pod]));
  const workloads = new Map(platform?.workloads.map((w) => [key(w.kind, w.namespace, w.name), w]));
  const listed = objects.map((o): Listed => {
    const k = key(o.kind, o.namespace, o.name);
    return {
      ...identity(o),
      source: o.source,
      warnings: o.warnings,
      pod: pods.get(k) ?? null,
      workload: workloads.get(k) ?? null,
    };
  });
  const known = new Set(listed.map((o) => key(o.kind, o.namespace, o.name)));
  const made = (kind: string, { namespace, name }: PodStatus | WorkloadStatus): Listed => ({
    kind,
    namespace,
    name,
    manifest: { apiVersion: API[kind] ?? "", kind, metadata: { name, namespace } },
    source: null,
    warnings: [],
    pod: pods.get(key(kind, namespace, name)) ?? null,
    workload: workloads.get(key(kind, namespace, name)) ?? null,
  });
  const missing = [
    ...(platform?.pods ?? []).map((pod) => made("Pod", pod)),
    ...(platform?.workloads ?? []).map((w) => made(w.kind, w)),
  ].filter((o) => API[o.kind] !== undefined && !known.has(key(o.kind, o.namespace, o.name)));
  const order = (o: Listed): string => key(o.kind, o.namespace, o.name);
  return {
    objects: [...listed, ...missing].sort((a, b) => (order(a) < order(b) ? -1 : 1)),
    platform,
  };
}

function identity({
  kind,
  namespace,
  name,
  object,
}: ListedObject): Pick<Listed, "kind" | "namespace" | "name" | "manifest"> {
  return { kind, namespace, name, manifest: object as Manifest };
}

export interface Filter {
  readonly namespace: string | null;
  readonly selector: Selector | null;
}

/** The objects that are wanted, and a sentence for each that was named and is not there. */
export function choose(
  objects: readonly Listed[],
  wanted: readonly Wanted[],
  { namespace, selector }: Filter,
): { found: Listed[]; missing: string[] } {
  const missing: string[] = [];
  const found = new Set<Listed>();
  for (const want of wanted) {
    const of = objects.filter(
      (o) =>
        o.kind === want.kind &&
        (want.group === null || groupOf(o) === want.group) &&
        (want.name === null || o.name === want.name) &&
        (namespace === null || o.namespace === namespace || o.namespace === "") &&
        (selector === null || selector(o.manifest.metadata?.labels ?? {})),
    );
    if (of.length === 0 && want.name !== null) missing.push(notFound(want, namespace));
    for (const one of of) found.add(one);
  }
  return { found: [...found], missing };
}

function groupOf({ manifest: { apiVersion = "" } }: Listed): string {
  return apiVersion.includes("/") ? apiVersion.slice(0, apiVersion.indexOf("/")) : "";
}

/** `deployment.apps/web` */
export function fullName(o: Listed): string {
  return `${resourceName(o.kind, o.manifest.apiVersion ?? "")}/${o.name}`;
}

/** Made by the platform: pods of workloads, addresses of Services. Nobody wrote them, nobody can apply them. */
export function isMade(o: Listed): boolean {
  return (
    o.source === null || o.kind === "IPAddress" || (o.manifest.metadata?.ownerReferences ?? []).length > 0
  );
}
