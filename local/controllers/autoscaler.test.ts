import { expect, test } from "vitest";
import { localPlatform, manifest } from "#test/harness/local-platform.ts";
import type { PlatformObject } from "../object.ts";

const local = localPlatform();
const soon = { timeout: 25_000, interval: 20 };

/** Each pod burns a core until somebody makes the file "calm". */
const web = (replicas: number): PlatformObject =>
  manifest(local.dir, {
    spec: { replicas },
    container: {
      command: ["sh", "-c", "until test -e calm; do :; done; sleep 1000"],
      resources: { requests: { cpu: "50m" } },
    },
  });
const scaler = (over: object = {}): PlatformObject => ({
  apiVersion: "autoscaling/v2",
  kind: "HorizontalPodAutoscaler",
  metadata: { name: "web" },
  spec: {
    scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "web" },
    minReplicas: 1,
    maxReplicas: 3,
    metrics: [
      {
        type: "Resource",
        resource: { name: "cpu", target: { type: "Utilization", averageUtilization: 50 } },
      },
    ],
    behavior: { scaleDown: { stabilizationWindowSeconds: 0 } },
    ...over,
  },
  source: { file: `${local.dir}/hpa.yaml`, line: 1 },
});
const hpa = () => local.workload("web", "HorizontalPodAutoscaler");
const FAST = { autoscalePeriodMs: 200 };

test("CPU scales a Deployment up and down; the number is the autoscaler's, whatever the file or a person says", async () => {
  await local.start([web(1), scaler()], FAST);
  await expect.poll(() => local.pods("web").length, soon).toBe(3);
  expect(hpa().conditions).toMatchObject([
    { type: "AbleToScale", status: "True" },
    { type: "ScalingActive", status: "True" },
    { type: "ScalingLimited", status: "True", reason: "TooManyReplicas" },
  ]);
  expect(hpa().autoscaler).toMatchObject({ target: "Deployment/web", minReplicas: 1, maxReplicas: 3 });
  expect(hpa().autoscaler?.metrics[0]).toMatch(/^cpu: \d+%\/50%$/);
  // An edit elsewhere, and even of `replicas`, restarts and scales nothing.
  await local.platform.update([web(2), scaler()]);
  expect(local.pods("web")).toHaveLength(3);
  await expect(local.ask("POST", "/workloads/Deployment/default/web/scale", { replicas: 1 })).rejects.toThrow(
    "409: deployment.apps/web is scaled by HorizontalPodAutoscaler default/web",
  );
  await local.stop();
  await local.start([web(2), scaler()], FAST);
  await expect.poll(() => local.pods("web").length, soon).toBe(3);
  local.touch("calm");
  await expect.poll(() => local.pods("web").length, soon).toBe(1);
  // Without it the file counts again.
  await local.platform.update([web(2)]);
  await expect.poll(() => local.pods("web").length, soon).toBe(2);
}, 60_000);

test("what hinders it is said: no target, no request to measure against", async () => {
  await local.start([scaler()], FAST);
  expect(hpa().conditions).toMatchObject([
    { type: "AbleToScale", status: "False", message: "there is no Deployment/default/web" },
  ]);
  await local.platform.update([manifest(local.dir), scaler()]);
  await expect
    .poll(() => hpa().conditions.find((c) => c.type === "ScalingActive"), soon)
    .toMatchObject({ status: "False", message: "no container of the target has resources.requests.cpu" });
});
