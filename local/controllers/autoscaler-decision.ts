/**
 * How many pods there should be, as Kubernetes' horizontal pod autoscaler computes it. Pure.
 * https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details
 */
import type { AutoscalerSpec, Metric, ScalingRules } from "./autoscaler-spec.ts";

/** One metric as measured. */
export interface Reading {
  readonly metric: Metric;
  /** Of each pod that could be asked: what it uses. */
  readonly used: readonly number[];
  /** What one pod requests; needed for a utilization. */
  readonly requested: number;
  /** Pods that are not ready or not measured yet. */
  readonly unknown: number;
  /** Pods that are ready. */
  readonly ready: number;
}

/** What was wished for before, and what was done; ms on one clock. */
export interface Past {
  readonly wishes: readonly { readonly at: number; readonly replicas: number }[];
  readonly steps: readonly { readonly at: number; readonly change: number }[];
}

export interface Decision {
  readonly replicas: number;
  /** What the metrics alone would have. */
  readonly wish: number;
  /** Kubernetes' words for the condition ScalingLimited. */
  readonly limit:
    | "DesiredWithinRange"
    | "TooManyReplicas"
    | "TooFewReplicas"
    | "ScaleUpLimit"
    | "ScaleDownLimit";
}

/** The largest wish of all metrics, made steady, slowed down and kept within minReplicas and maxReplicas. */
export function decide(
  spec: AutoscalerSpec,
  current: number,
  readings: readonly Reading[],
  past: Past,
  now: number,
): Decision {
  const wishes = readings.map((reading) => wishOf(reading, current, spec));
  const wish = wishes.length === 0 ? current : Math.max(...wishes);
  const steady = stabilize(spec, current, wish, past, now);
  const top = steady > current ? upLimit(spec.up, current, past, now) : Number.POSITIVE_INFINITY;
  const bottom = steady < current ? downLimit(spec.down, current, past, now) : 0;
  const slow = Math.max(bottom, Math.min(top, steady));
  const replicas = Math.max(spec.minReplicas, Math.min(spec.maxReplicas, slow));
  const limit =
    steady > spec.maxReplicas && replicas === spec.maxReplicas
      ? "TooManyReplicas"
      : steady < spec.minReplicas && replicas === spec.minReplicas
        ? "TooFewReplicas"
        : slow < steady
          ? "ScaleUpLimit"
          : slow > steady
            ? "ScaleDownLimit"
            : "DesiredWithinRange";
  return { replicas, wish, limit };
}

function wishOf(reading: Reading, current: number, spec: AutoscalerSpec): number {
  const { metric, used, requested, unknown, ready } = reading;
  const sum = used.reduce((a, b) => a + b, 0);
  const { target } = metric;
  if (used.length === 0 || current === 0) return current;
  if (target.kind === "total")
    return within(sum / target.value, spec) ? current : Math.ceil((sum / target.value) * ready);
  if (metric.service !== undefined && target.kind === "average")
    return within(sum / target.value / current, spec) ? current : Math.ceil(sum / target.value);
  const perPod = target.kind === "average" ? target.value : (target.percent / 100) * requested;
  const ratio = sum / used.length / perPod;
  if (within(ratio, spec)) return current;
  // Whoever is not measured counts against the change: as idle when more are wanted, as busy when fewer are.
  const careful =
    ratio > 1
      ? sum / (used.length + unknown) / perPod
      : (sum + unknown * perPod) / (used.length + unknown) / perPod;
  if (within(careful, spec) || careful > 1 !== ratio > 1) return current;
  return Math.ceil(careful * (used.length + unknown));
}

function within(ratio: number, { up, down }: AutoscalerSpec): boolean {
  return ratio >= 1 ? ratio - 1 <= up.tolerance : 1 - ratio <= down.tolerance;
}

/** Down only as far as the highest wish of the window, up only as far as the lowest. */
function stabilize(spec: AutoscalerSpec, current: number, wish: number, past: Past, now: number): number {
  const since = (seconds: number) =>
    past.wishes.filter(({ at }) => at > now - seconds * 1000).map(({ replicas }) => replicas);
  const least = Math.min(wish, ...since(spec.up.stabilizationSeconds));
  const most = Math.max(wish, ...since(spec.down.stabilizationSeconds));
  return Math.max(Math.min(current, most), least);
}

function upLimit({ select, policies }: ScalingRules, current: number, past: Past, now: number): number {
  if (select === "Disabled") return current;
  const limits = policies.map(({ type, value, periodSeconds }) => {
    const before = current - changes(past, now, periodSeconds);
    return type === "Pods" ? before + value : Math.ceil(before * (1 + value / 100));
  });
  return Math.max(current, select === "Max" ? Math.max(...limits) : Math.min(...limits));
}

function downLimit({ select, policies }: ScalingRules, current: number, past: Past, now: number): number {
  if (select === "Disabled") return current;
  const limits = policies.map(({ type, value, periodSeconds }) => {
    const before = current - changes(past, now, periodSeconds);
    return type === "Pods" ? before - value : Math.floor(before * (1 - value / 100));
  });
  return Math.min(current, select === "Max" ? Math.min(...limits) : Math.max(...limits));
}

/** How many more pods there are than so many seconds ago. */
function changes({ steps }: Past, now: number, seconds: number): number {
  return steps.filter(({ at }) => at > now - seconds * 1000).reduce((sum, { change }) => sum + change, 0);
}
