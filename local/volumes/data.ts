import type { DataKind, Downward } from "../container-spec.ts";
import { type PlatformObject, record } from "../object.ts";

/** What is awaited, in words: "ConfigMap default/app does not exist". */
export class MissingError extends Error {
  override readonly name = "MissingError";
}

/** The keys of a ConfigMap or Secret; undefined: there is none. A Secret's stringData wins, as on Kubernetes. */
export function dataOf(
  objects: readonly PlatformObject[],
  kind: DataKind,
  namespace: string,
  name: string,
): ReadonlyMap<string, Buffer> | undefined {
  const found = objects.find(
    (o) => o.kind === kind && o.metadata.name === name && (o.metadata.namespace ?? "default") === namespace,
  );
  if (found === undefined) return undefined;
  const raw = record(found);
  const data = new Map<string, Buffer>();
  const add = (field: string, encoding: BufferEncoding): void => {
    for (const [key, value] of Object.entries(record(raw[field])))
      data.set(key, Buffer.from(String(value), encoding));
  };
  if (kind === "ConfigMap") {
    add("binaryData", "base64");
    add("data", "utf8");
  } else {
    add("data", "base64");
    add("stringData", "utf8");
  }
  return data;
}

/** What the downward API can say of one pod. */
export interface PodFields {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly serviceAccount: string;
  readonly podIp: string;
  readonly hostIp: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly containers: readonly {
    readonly name: string;
    readonly limits: { readonly cpu?: number; readonly memory?: number };
    readonly requests: { readonly cpu?: number; readonly memory?: number };
  }[];
  /** What the machine has, for a limit that is not set. */
  readonly machine: { readonly cpu: number; readonly memory: number };
}

/** As the kubelet writes it: cores and bytes by divisor, labels one to a line. */
export function downward(from: Downward, pod: PodFields): string {
  if ("resource" in from) return resource(from, pod);
  switch (from.fieldPath) {
    case "metadata.name":
      return pod.name;
    case "metadata.namespace":
      return pod.namespace;
    case "metadata.uid":
      return pod.uid;
    case "spec.nodeName":
      return "local";
    case "spec.serviceAccountName":
      return pod.serviceAccount;
    case "status.hostIP":
    case "status.hostIPs":
      return pod.hostIp;
    case "status.podIP":
    case "status.podIPs":
      return pod.podIp;
    case "metadata.labels":
      return lines(pod.labels);
    case "metadata.annotations":
      return lines(pod.annotations);
  }
  const one = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(from.fieldPath);
  const map = one?.[1] === "labels" ? pod.labels : pod.annotations;
  return map[one?.[2] ?? ""] ?? "";
}

/** As a kubelet writes them: key="escaped value". */
function lines(map: Readonly<Record<string, string>>): string {
  return Object.entries(map)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
    .join("\n");
}

/** Rounded up to whole divisors; a limit that is not set is what the machine has, a request 0. */
function resource(from: Extract<Downward, { resource: string }>, pod: PodFields): string {
  const [kind, name] = from.resource.split(".") as ["limits" | "requests", string];
  const container = pod.containers.find((c) => c.name === from.container);
  const key = name === "cpu" ? "cpu" : name === "memory" ? "memory" : undefined;
  const amount =
    key === undefined ? 0 : (container?.[kind][key] ?? (kind === "limits" ? pod.machine[key] : 0));
  return String(Math.ceil(amount / from.divisor));
}
