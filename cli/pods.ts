/** Pods as the platform tells them, in Kubernetes' shape. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface PodRow {
  readonly name: string;
  readonly namespace: string;
  readonly workload: string;
  readonly ip: string;
  readonly ready: boolean;
  /** It has ended by itself: a Job's pod. */
  readonly ended: boolean;
  readonly restarts: number;
  /** Names of containers, the proxy among them. */
  readonly containers: readonly string[];
}

interface PodObject {
  readonly kind?: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly ownerReferences?: readonly { readonly name: string }[];
  };
  readonly status?: {
    readonly phase?: string;
    readonly podIP?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: readonly { readonly name: string; readonly restartCount: number }[];
  };
}

function podRow(pod: PodObject): PodRow {
  const { metadata, status = {} } = pod;
  const containers = status.containerStatuses ?? [];
  return {
    name: metadata.name,
    namespace: metadata.namespace ?? "default",
    workload: metadata.ownerReferences?.[0]?.name ?? metadata.name,
    ip: status.podIP ?? "",
    ready: status.conditions?.some((c) => c.type === "Ready" && c.status === "True") ?? false,
    ended: status.phase === "Succeeded" || status.phase === "Failed",
    restarts: containers.reduce((sum, c) => sum + c.restartCount, 0),
    containers: containers.map((c) => c.name),
  };
}

/** From the state directory: there even while the control plane does not answer. Empty without a mesh. */
export function platformPods(stateDir: string): PodRow[] {
  const file = join(stateDir, "platform.json");
  if (!existsSync(file)) return [];
  const { items } = JSON.parse(readFileSync(file, "utf8")) as { items: readonly PodObject[] };
  return items.filter((item) => item.kind === "Pod").map(podRow);
}

/**
 * The log files of a pod by container, the application's first; of pods that are gone, too. The second of two pods of one
 * name has its folder under NAME.NAMESPACE.
 */
export function podLogs(stateDir: string, pod: string, namespace: unknown): Map<string, string> {
  const own = join(stateDir, "pods", `${pod}.${String(namespace)}`, "logs");
  const folder = existsSync(own) ? own : join(stateDir, "pods", pod, "logs");
  if (!existsSync(folder)) return new Map();
  const names = readdirSync(folder).filter((f) => f.endsWith(".log"));
  const proxyLast = (a: string, b: string) =>
    Number(a === "istio-proxy.log") - Number(b === "istio-proxy.log");
  return new Map(names.sort(proxyLast).map((f) => [f.slice(0, -4), join(folder, f)]));
}
