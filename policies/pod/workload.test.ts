import { expect, test } from "vitest";
import { load } from "../load.ts";

const TEMPLATE =
  "template: {metadata: {labels: {a: b}}, spec: {RESTARTcontainers: [{name: c, command: [x]}]}}";
const SELECTOR = "selector: {matchLabels: {a: b}}";
const of = (restart = "") => TEMPLATE.replace("RESTART", restart === "" ? "" : `restartPolicy: ${restart}, `);

function issues(api: string, kind: string, spec: string): string[] {
  const text = `apiVersion: ${api}\nkind: ${kind}\nmetadata: {name: w}\nspec: {${spec}}`;
  return load(text, "w.yaml").issues.map(({ path, message }) => `${path}: ${message}`);
}

test.each([
  [
    "apps/v1",
    "Deployment",
    `${SELECTOR}, ${of()}, strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 0}}`,
  ],
  [
    "apps/v1",
    "StatefulSet",
    `${SELECTOR}, ${of()}, serviceName: w, volumeClaimTemplates: [{metadata: {name: d}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]`,
  ],
  ["apps/v1", "DaemonSet", `${SELECTOR}, ${of()}`],
  ["batch/v1", "Job", `${of("Never")}, backoffLimit: 2, completions: 3`],
  [
    "batch/v1",
    "CronJob",
    `schedule: "*/5 0-6 * jan mon", timeZone: Europe/Berlin, jobTemplate: {spec: {${of("OnFailure")}}}`,
  ],
  [
    "autoscaling/v2",
    "HorizontalPodAutoscaler",
    "scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: w}, maxReplicas: 3, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]",
  ],
  [
    "v1",
    "PersistentVolumeClaim",
    "accessModes: [ReadWriteOnce], storageClassName: fast, resources: {requests: {storage: 1Gi}}",
  ],
])("%s %s as people write it", (api, kind, spec) => {
  expect(issues(api, kind, spec)).toEqual([]);
});

test.each([
  [
    "apps/v1",
    "Deployment",
    `selector: {matchLabels: {a: c}}, ${of()}`,
    "spec.selector.matchLabels.a: its own pods do not have the label a: c",
  ],
  [
    "apps/v1",
    "Deployment",
    `${SELECTOR}, ${of("Never")}`,
    "spec.template.spec.restartPolicy: must be Always here, not Never",
  ],
  ["apps/v1", "Deployment", `${SELECTOR}, ${of()}, replcas: 2`, 'did you mean "replicas"?'],
  [
    "apps/v1",
    "Deployment",
    `${SELECTOR}, template: {metadata: {lables: {a: b}}, spec: {containers: [{name: c}]}}`,
    'did you mean "labels"?',
  ],
  ["batch/v1", "Job", of(), "spec.template.spec.restartPolicy: must be OnFailure or Never here, not Always"],
  ["batch/v1", "CronJob", `schedule: "* * * *", jobTemplate: {spec: {${of("Never")}}}`, "it has 4"],
  [
    "batch/v1",
    "CronJob",
    `schedule: "61 * * * *", jobTemplate: {spec: {${of("Never")}}}`,
    'minute "61" is no value',
  ],
  [
    "batch/v1",
    "CronJob",
    `schedule: "* * * foo *", jobTemplate: {spec: {${of("Never")}}}`,
    'month "foo" is no value',
  ],
  [
    "autoscaling/v2",
    "HorizontalPodAutoscaler",
    "scaleTargetRef: {kind: Deployment, name: w}, minReplicas: 4, maxReplicas: 3",
    "must be at least minReplicas, 4",
  ],
])("%s %s: %s", (api, kind, spec, says) => {
  expect(issues(api, kind, spec).join("\n")).toContain(says);
});
