import { Fields } from "../fields.ts";
import { list, type PlatformObject, record } from "../object.ts";
import { quantity } from "../quantity.ts";

/** What a metric is held against. */
export type Target =
  /** Percent of what the pods request. */
  | { readonly kind: "utilization"; readonly percent: number }
  /** Per pod. */
  | { readonly kind: "average"; readonly value: number }
  /** Of all pods together. */
  | { readonly kind: "total"; readonly value: number };

export interface Metric {
  /** cpu in cores, memory in bytes, requests per second. */
  readonly source: "cpu" | "memory" | "requests";
  /** ContainerResource: of this container alone. */
  readonly container?: string;
  /** Object: of all pods of this Service, not of those that are scaled. */
  readonly service?: string;
  readonly target: Target;
}

export interface ScalingPolicy {
  readonly type: "Pods" | "Percent";
  readonly value: number;
  readonly periodSeconds: number;
}
export interface ScalingRules {
  readonly stabilizationSeconds: number;
  readonly select: "Max" | "Min" | "Disabled";
  readonly policies: readonly ScalingPolicy[];
  /** How far from 1 the ratio must be before anything is done. */
  readonly tolerance: number;
}

export interface AutoscalerSpec {
  readonly target: { readonly kind: string; readonly name: string };
  readonly minReplicas: number;
  readonly maxReplicas: number;
  readonly metrics: readonly Metric[];
  readonly up: ScalingRules;
  readonly down: ScalingRules;
}

/**
 * Names of the one metric that the mesh has itself: requests per second that a pod's proxy lets in. The first is the name
 * in Kubernetes' own walkthrough, the others are what metric adapters are usually told to call it.
 */
const REQUEST_METRICS: readonly string[] = [
  "requests-per-second",
  "requests_per_second",
  "http_requests_per_second",
  "istio_requests_per_second",
];

/** Defaults as Kubernetes'. Throws PlatformError. */
export function autoscalerSpec(object: PlatformObject): AutoscalerSpec {
  const spec = new Fields(object);
  const target = spec.at("scaleTargetRef");
  const minReplicas = spec.whole("minReplicas", 1);
  const maxReplicas = spec.whole("maxReplicas", minReplicas, 1);
  if (minReplicas === 0)
    throw spec.wrong("minReplicas", "is not possible: without a pod there is nothing to measure");
  if (maxReplicas < minReplicas)
    throw spec.wrong("maxReplicas", `must be at least minReplicas, ${minReplicas}`);
  const metrics = list(spec.json["metrics"]).map((_, i) => readMetric(object, i));
  const behavior = spec.at("behavior");
  return {
    target: {
      kind: target.oneOf("kind", ["Deployment", "StatefulSet", "ReplicaSet"], "Deployment"),
      name: target.text("name", ""),
    },
    minReplicas,
    maxReplicas,
    metrics: metrics.length > 0 ? metrics : [{ source: "cpu", target: { kind: "utilization", percent: 80 } }],
    up: readRules(behavior.at("scaleUp"), 0, [
      { type: "Percent", value: 100, periodSeconds: 15 },
      { type: "Pods", value: 4, periodSeconds: 15 },
    ]),
    down: readRules(behavior.at("scaleDown"), 300, [{ type: "Percent", value: 100, periodSeconds: 15 }]),
  };
}

function readMetric(object: PlatformObject, i: number): Metric {
  const given = record(list(record(object.spec)["metrics"])[i]);
  const at = new Fields(object, `spec.metrics[${i}]`, given);
  const type = at.oneOf("type", ["Resource", "ContainerResource", "Pods", "Object", "External"], "Resource");
  if (type === "External")
    throw at.wrong("type", "is not possible on a local mesh: it has no metrics from elsewhere");
  const field = `${type.slice(0, 1).toLowerCase()}${type.slice(1)}`;
  const inner = at.at(field);
  const target = readTarget(inner.at("target"));
  if (type === "Resource" || type === "ContainerResource") {
    const source = inner.oneOf("name", ["cpu", "memory"], "cpu");
    return {
      source,
      target,
      ...(type === "ContainerResource" ? { container: inner.text("container", "") } : {}),
    };
  }
  const metric = inner.at("metric");
  if (!REQUEST_METRICS.includes(metric.text("name", "")))
    throw metric.wrong(
      "name",
      `is not measured here; the mesh has "${REQUEST_METRICS[0]}" (also as ${REQUEST_METRICS.slice(1).join(", ")})`,
    );
  if (target.kind === "utilization")
    throw inner.at("target").wrong("type", "is for resources alone: use AverageValue or Value");
  if (type === "Pods") return { source: "requests", target };
  const described = inner.at("describedObject");
  if (described.text("kind", "") !== "Service")
    throw described.wrong("kind", 'is not measured here: "Service" is');
  return { source: "requests", target, service: described.text("name", "") };
}

function readTarget(target: Fields): Target {
  const type = target.oneOf("type", ["Utilization", "AverageValue", "Value"], "Utilization");
  if (type === "Utilization")
    return { kind: "utilization", percent: target.whole("averageUtilization", 80, 1) };
  const name = type === "Value" ? "value" : "averageValue";
  const value = quantity(target.json[name]);
  if (value === undefined || value <= 0) throw target.wrong(name, "is no quantity above 0");
  return { kind: type === "Value" ? "total" : "average", value };
}

function readRules(rules: Fields, seconds: number, policies: readonly ScalingPolicy[]): ScalingRules {
  const given = list(rules.json["policies"]);
  return {
    stabilizationSeconds: rules.whole("stabilizationWindowSeconds", seconds),
    select: rules.oneOf("selectPolicy", ["Max", "Min", "Disabled"], "Max"),
    policies:
      given.length === 0
        ? policies
        : given.map((p) => ({
            type: p["type"] === "Percent" ? "Percent" : "Pods",
            value: Number(p["value"]),
            periodSeconds: Number(p["periodSeconds"]),
          })),
    tolerance: quantity(rules.json["tolerance"] ?? "0.1") ?? 0.1,
  };
}
