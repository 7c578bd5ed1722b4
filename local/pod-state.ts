/** What a pod's parts say of the whole. Pure. */
import type { Container } from "./container.ts";
import type { PodPhase } from "./contract.ts";
import type { Supervised } from "./process.ts";
import type { PodTemplate } from "./spec.ts";

export interface PodParts {
  readonly template: PodTemplate;
  readonly begun: boolean;
  readonly running: boolean;
  readonly stopping: boolean;
  readonly ended: "Succeeded" | "Failed" | undefined;
  readonly failure: { readonly reason: string; readonly message: string } | undefined;
  readonly awaits: string;
  readonly proxyReady: boolean;
  readonly proxy: Supervised | undefined;
  readonly containers: readonly Container[];
}

export interface PodState {
  readonly phase: PodPhase;
  readonly ready: boolean;
  /** A word, as `kubectl get pods` has under STATUS. */
  readonly reason: string;
  /** In words, why it is not ready; "" = it is. */
  readonly message: string;
}

/** By the rules of Kubernetes (Pod Lifecycle); a pod is not ready while its proxy is not. */
export function summarize(pod: PodParts): PodState {
  const phase = pod.ended ?? (pod.running ? "Running" : "Pending");
  const serving = pod.containers.filter((c) => c.role !== "init");
  const all = pod.template.containers.length + pod.template.initContainers.filter((c) => c.sidecar).length;
  const ready =
    phase === "Running" &&
    !pod.stopping &&
    pod.proxyReady &&
    serving.length === all &&
    serving.every((c) => c.ready);
  return { phase, ready, reason: word(pod, phase), message: ready ? "" : words(pod) };
}

function word(pod: PodParts, phase: PodPhase): string {
  if (pod.failure !== undefined) return pod.failure.reason;
  if (phase === "Succeeded") return "Completed";
  if (phase === "Failed")
    return pod.containers.some((c) => c.process.lastExit?.startsWith("OOMKilled")) ? "OOMKilled" : "Error";
  if (pod.stopping) return "Terminating";
  const inits = pod.template.initContainers;
  if (phase === "Pending") {
    if (!pod.begun || !pod.proxyReady || pod.awaits !== "")
      return inits.length > 0 ? `Init:0/${inits.length}` : "PodInitializing";
    const done = pod.containers.filter((c) => (c.role === "sidecar" ? c.started : c.done)).length;
    const now = pod.containers.at(-1);
    const trouble = now === undefined ? undefined : troubleOf(now);
    return `Init:${trouble ?? `${done}/${inits.length}`}`;
  }
  for (const container of pod.containers) {
    const trouble = troubleOf(container);
    if (trouble !== undefined) return trouble;
  }
  return "Running";
}

function troubleOf({ process, role }: Container): string | undefined {
  if (process.awaits !== undefined) return "CreateContainerConfigError";
  if (process.state === "waiting") return process.restarts > 0 ? "CrashLoopBackOff" : "Error";
  if (process.state === "ended" && role === "main") return process.exit?.code === 0 ? undefined : "Error";
  return undefined;
}

function words(pod: PodParts): string {
  if (pod.failure !== undefined) return pod.failure.message;
  if (pod.ended === "Succeeded") return "it has completed";
  if (pod.ended === undefined && pod.stopping) return "it is being stopped";
  if (!pod.begun) return "its network is being made";
  if (pod.awaits !== "") return pod.awaits;
  const said: string[] = [];
  if (!pod.proxyReady && pod.ended === undefined) {
    const last = pod.proxy?.lastExit;
    said.push(`istio-proxy is not ready${last === undefined ? "" : ` (last: ${last})`}`);
  }
  for (const container of pod.containers) {
    if (container.role === "init" && container.done && container.process.exit?.code === 0) continue;
    if (container.ready && container.process.state === "running") continue;
    const why = container.waitsFor;
    const label = container.role === "init" ? "init container " : "";
    if (why !== "") said.push(`${label}${container.spec.name}: ${why}`);
  }
  return said.join("; ") || "it starts";
}
