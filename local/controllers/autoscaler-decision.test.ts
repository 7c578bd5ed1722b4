import { expect, test } from "vitest";
import type { PlatformObject } from "../object.ts";
import { decide, type Past, type Reading } from "./autoscaler-decision.ts";
import { type AutoscalerSpec, autoscalerSpec } from "./autoscaler-spec.ts";

const hpa = (spec: object = {}): PlatformObject => ({
  apiVersion: "autoscaling/v2",
  kind: "HorizontalPodAutoscaler",
  metadata: { name: "h" },
  spec: { scaleTargetRef: { kind: "Deployment", name: "web" }, minReplicas: 1, maxReplicas: 20, ...spec },
  source: { file: "h.yaml", line: 3 },
});
const spec = (over: object = {}): AutoscalerSpec => autoscalerSpec(hpa(over));
const cpu = (percent: number): AutoscalerSpec["metrics"][number] => ({
  source: "cpu",
  target: { kind: "utilization", percent },
});
/** Pods that each use so many of the one core that they request. */
const reading = (used: number[], unknown = 0, metric = cpu(50)): Reading => ({
  metric,
  used,
  requested: 1,
  unknown,
  ready: used.length,
});
const NONE: Past = { wishes: [], steps: [] };
const SECOND = 1_000;

test("the ratio of what is used to what is wanted, rounded up; nothing within a tenth", () => {
  const calm = spec({ behavior: { scaleDown: { stabilizationWindowSeconds: 0 } } });
  const of = (current: number, ...readings: Reading[]) => decide(calm, current, readings, NONE, 0).replicas;
  expect(of(2, reading([1, 1]))).toBe(4);
  expect(of(3, reading([0.5, 0.5, 0.54]))).toBe(3);
  expect(of(3, reading([0.5, 0.6, 0.6]))).toBe(4);
  expect(of(4, reading([0.1, 0.1, 0.1, 0.1]))).toBe(1);
  // Of several metrics the largest wish.
  expect(of(2, reading([0.5, 0.5]), reading([0.9, 0.9]))).toBe(4);
  expect(of(2)).toBe(2);
});

test("pods that are not measured damp the change: idle on the way up, busy on the way down", () => {
  const calm = spec({ behavior: { scaleDown: { stabilizationWindowSeconds: 0 } } });
  expect(decide(calm, 4, [reading([1, 1, 1], 1)], NONE, 0).wish).toBe(6);
  expect(decide(calm, 4, [reading([0.6, 0.6, 0.6], 1)], NONE, 0).wish).toBe(4);
  expect(decide(calm, 4, [reading([0.1, 0.1], 2)], NONE, 0).wish).toBe(3);
});

test("Value is of all pods together, AverageValue of each", () => {
  const of = (kind: "total" | "average", value: number, used: number[]) =>
    decide(spec(), used.length, [reading(used, 0, { source: "requests", target: { kind, value } })], NONE, 0)
      .wish;
  expect(of("average", 10, [25, 15])).toBe(4);
  expect(of("total", 10, [25, 15])).toBe(8);
  const service = {
    source: "requests" as const,
    service: "web",
    target: { kind: "average" as const, value: 10 },
  };
  expect(decide(spec(), 2, [reading([25, 15, 20], 0, service)], NONE, 0).wish).toBe(6);
});

test("down only when the window has not wanted more; up at once, and not more than double or four in 15 s", () => {
  const past: Past = { wishes: [{ at: 0, replicas: 6 }], steps: [] };
  const low = [reading([0.1, 0.1, 0.1, 0.1, 0.1, 0.1])];
  expect(decide(spec(), 6, low, past, 299 * SECOND).replicas).toBe(6);
  expect(decide(spec(), 6, low, past, 301 * SECOND).replicas).toBe(2);
  const high = [reading([9, 9])];
  expect(decide(spec(), 2, high, NONE, 0)).toMatchObject({ replicas: 6, limit: "ScaleUpLimit" });
  const steps = [{ at: 0, change: 4 }];
  const six = [reading([9, 9, 9, 9, 9, 9])];
  expect(decide(spec(), 6, six, { wishes: [], steps }, 14 * SECOND).replicas).toBe(6);
  expect(decide(spec(), 6, six, { wishes: [], steps }, 16 * SECOND).replicas).toBe(12);
  expect(decide(spec({ maxReplicas: 3 }), 2, high, NONE, 0)).toMatchObject({
    replicas: 3,
    limit: "TooManyReplicas",
  });
});

test("behavior: policies, Disabled, Min", () => {
  const rules = (scaleDown: object): AutoscalerSpec => spec({ behavior: { scaleDown } });
  const low = [reading(Array(10).fill(0.01))];
  const down = (scaleDown: object) => decide(rules(scaleDown), 10, low, NONE, 0).replicas;
  const policies = [
    { type: "Pods", value: 2, periodSeconds: 60 },
    { type: "Percent", value: 50, periodSeconds: 60 },
  ];
  expect(down({ stabilizationWindowSeconds: 0, policies })).toBe(5);
  expect(down({ stabilizationWindowSeconds: 0, policies, selectPolicy: "Min" })).toBe(8);
  expect(down({ stabilizationWindowSeconds: 0, policies, selectPolicy: "Disabled" })).toBe(10);
});

test("what cannot be measured here is refused with its place", () => {
  const pods = (name: string) => ({
    metrics: [
      { type: "Pods", pods: { metric: { name }, target: { type: "AverageValue", averageValue: "10" } } },
    ],
  });
  expect(spec(pods("requests_per_second")).metrics).toEqual([
    { source: "requests", target: { kind: "average", value: 10 } },
  ]);
  expect(() => spec(pods("queue-depth"))).toThrow(
    /^h\.yaml:3: HorizontalPodAutoscaler default\/h: spec\.metrics\[0\]\.pods\.metric\.name: "queue-depth" is not measured here; the mesh has "requests-per-second"/,
  );
  expect(() => spec({ minReplicas: 0 })).toThrow(/spec\.minReplicas: 0 is not possible/);
  expect(() => spec({ scaleTargetRef: { kind: "Job", name: "x" } })).toThrow(
    /is none of Deployment, StatefulSet/,
  );
});
