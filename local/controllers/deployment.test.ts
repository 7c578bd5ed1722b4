import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { localPlatform, manifest, readyWhen } from "#test/harness/local-platform.ts";
import type { Done, RolloutHistory } from "../contract.ts";
import type { PlatformObject } from "../object.ts";

const local = localPlatform();
const WEB = "/workloads/Deployment/default/web";
const soon = { timeout: 15_000, interval: 10 };

function web(version: string, spec: object = {}, container: object = {}): PlatformObject {
  return manifest(local.dir, { version, spec, container });
}
const pids = (): (number | undefined)[] =>
  local.platform.status().pods.map((p) => p.containers.find((c) => c.name === "main")?.pid);
const complete = () => expect.poll(() => local.workload("web").rollout?.state, soon).toBe("complete");
const revisions = async (): Promise<number[]> =>
  (await local.ask<RolloutHistory>("GET", `${WEB}/history`)).revisions.map((r) => r.revision);

test("a rolling update keeps to maxSurge and maxUnavailable, by number and by percent, and its pods' names never clash", async () => {
  const spec = { replicas: 4, strategy: { rollingUpdate: { maxSurge: 1, maxUnavailable: "25%" } } };
  const seen = { most: 0, least: 99, clash: false };
  await local.start([web("1", spec)], {
    onChange: () => {
      const pods = local.platform.status().pods.filter((p) => p.reason !== "Terminating");
      const names = local.platform.status().pods.map((p) => p.name);
      seen.most = Math.max(seen.most, pods.length);
      seen.least = Math.min(seen.least, pods.filter((p) => p.ready).length);
      seen.clash ||= new Set(names).size !== names.length;
    },
  });
  await local.platform.whenReady();
  expect(local.pods("web")).toEqual(["web-0", "web-1", "web-2", "web-3"]);
  seen.least = 99;
  await local.platform.update([web("2", spec, readyWhen("go"))]);
  // New pods that are not ready hold it: one old pod may be missing, one more than wanted may be there.
  await expect.poll(() => local.workload("web")).toMatchObject({ current: 5, updated: 2, available: 3 });
  expect(local.workload("web").rollout).toEqual({
    state: "progressing",
    message: 'Waiting for deployment "web" rollout to finish: 2 out of 4 new replicas have been updated...',
  });
  local.touch("go");
  await complete();
  expect(local.workload("web")).toMatchObject({ current: 4, updated: 4, available: 4, revision: 2 });
  expect(seen).toEqual({ most: 5, least: 3, clash: false });
});

test("what does not concern the pod template restarts nothing: replicas, strategy, metadata, the order of keys", async () => {
  await local.start([web("1", { replicas: 2 })]);
  await local.platform.whenReady();
  const before = pids();
  const other = web("1", { replicas: 2, minReadySeconds: 1, revisionHistoryLimit: 3 });
  const spec = other.spec as { template: { spec: object; metadata: object } };
  const turned = {
    ...other,
    metadata: { ...other.metadata, labels: { team: "a" }, annotations: { note: "b" } },
    spec: { ...spec, template: { spec: spec.template.spec, metadata: spec.template.metadata } },
  };
  await local.platform.update([turned]);
  await local.platform.update([web("1", { replicas: 3 })]);
  await local.platform.whenReady();
  expect(pids().slice(0, 2)).toEqual(before);
  await local.platform.update([web("1", { replicas: 1 })]);
  await expect.poll(() => local.pods("web")).toEqual(["web-0"]);
  expect(pids()[0]).toBe(before[0]);
  expect(await revisions()).toEqual([1]);
});

test("Recreate: the old are gone before the new begin", async () => {
  const spec = { replicas: 2, strategy: { type: "Recreate" } };
  let both = false;
  await local.start([web("1", spec)], {
    onChange: () => {
      both ||= new Set(local.platform.status().pods.map((p) => p.revision)).size > 1;
    },
  });
  await local.platform.whenReady();
  await local.platform.update([web("2", spec)]);
  await complete();
  expect(local.pods("web")).toEqual(["web-0", "web-1"]);
  expect(both).toBe(false);
});

test("a rollout that does not progress is told after its deadline and stays; a good template ends it", async () => {
  const spec = { replicas: 2, progressDeadlineSeconds: 1 };
  await local.start([web("1", spec)]);
  await local.platform.whenReady();
  const old = pids();
  await local.platform.update([web("2", spec, readyWhen("never"))]);
  await expect.poll(() => local.workload("web").rollout?.state, soon).toBe("failed");
  const condition = local.workload("web").conditions.find((c) => c.type === "Progressing");
  expect(condition).toMatchObject({ status: "False", reason: "ProgressDeadlineExceeded" });
  expect(condition?.message).toMatch(/not available after 1 s without progress: web-2/);
  expect(pids().slice(0, 2)).toEqual(old);
  await local.platform.update([web("3", spec)]);
  await complete();
  expect(local.workload("web").conditions).toMatchObject([
    { type: "Available", status: "True" },
    { type: "Progressing", status: "True", reason: "NewReplicaSetAvailable" },
  ]);
});

test("a new pod counts after minReadySeconds: until then the old one stays", async () => {
  const spec = { minReadySeconds: 1 };
  await local.start([web("1", spec)]);
  await complete();
  await local.platform.update([web("2", spec)]);
  await expect.poll(() => local.workload("web")).toMatchObject({ current: 2, readyPods: 2, available: 1 });
  await complete();
  expect(local.pods("web")).toEqual(["web-1"]);
});

test("history, undo, restart, scale and pause are kept over restarts of the mesh, and give way to the file", async () => {
  const spec = { replicas: 2, revisionHistoryLimit: 2 };
  await local.start([web("1", spec)]);
  await complete();
  for (const version of ["2", "3", "4"]) {
    await local.platform.update([web(version, spec)]);
    await complete();
  }
  expect(await revisions()).toEqual([2, 3, 4]);
  const done = await local.ask<Done>("POST", `${WEB}/undo`, { toRevision: 2 });
  expect(done).toEqual({
    message: "deployment.apps/web rolled back",
    note: expect.stringMatching(
      /app\.yaml says otherwise: revision 2 runs until its pod template changes there/,
    ),
  });
  await expect.poll(() => local.workload("web").revision).toBe(5);
  await complete();
  expect(await revisions()).toEqual([3, 4, 5]);
  await local.ask("POST", `${WEB}/scale`, { replicas: 3 });
  await expect.poll(() => local.pods("web").length).toBe(3);

  await local.stop();
  await local.start([web("4", spec)]);
  await complete();
  expect(local.workload("web")).toMatchObject({ desired: 3, revision: 5 });
  expect(local.workload("web").changed).toEqual([
    expect.stringMatching(/^rolled back, until the pod template changes in/),
    expect.stringMatching(/^scaled to 3, until spec.replicas \(2\) changes in/),
  ]);
  const held = pids();
  // Another edit of the file leaves both alone; one of the template ends the undo, one of replicas the scale.
  await local.platform.update([web("4", { ...spec, minReadySeconds: 0 })]);
  expect(pids()).toEqual(held);
  await local.platform.update([web("6", spec)]);
  await expect.poll(() => local.workload("web")).toMatchObject({ revision: 6, desired: 3 });
  await complete();
  await local.platform.update([web("6", { ...spec, replicas: 1 })]);
  await expect.poll(() => local.pods("web").length).toBe(1);

  const before = pids();
  expect(await local.ask<Done>("POST", `${WEB}/restart`)).toMatchObject({
    message: "deployment.apps/web restarted",
  });
  await expect.poll(() => local.workload("web").revision).toBe(7);
  await complete();
  expect(pids()).not.toEqual(before);
  await local.stop();
  await local.start([web("6", { ...spec, replicas: 1 })]);
  await complete();
  expect(local.workload("web").revision).toBe(7);

  await local.ask("POST", `${WEB}/pause`);
  await expect(local.ask("POST", `${WEB}/pause`)).rejects.toThrow(
    "409: deployment.apps/web is already paused",
  );
  await expect(local.ask("POST", `${WEB}/restart`)).rejects.toThrow(
    "409: can't restart paused deployment.apps/web",
  );
  await local.platform.update([web("8", { ...spec, replicas: 2 })]);
  await expect.poll(() => local.pods("web").length).toBe(2);
  expect(local.workload("web")).toMatchObject({ paused: true, ready: true, revision: 7 });
  expect(local.workload("web").rollout?.message).toMatch(/is paused: a new pod template waits/);
  await local.ask("POST", `${WEB}/resume`);
  await expect.poll(() => local.workload("web").revision).toBe(8);
  await complete();

  await expect(local.ask("POST", `${WEB}/undo`, { toRevision: 77 })).rejects.toThrow(
    "404: deployment.apps/web has no revision 77; there are 6, 7, 8",
  );
  await expect(local.ask("POST", "/workloads/Deployment/default/nope/restart")).rejects.toThrow(
    "404: no Deployment default/nope runs here",
  );
  await local.platform.update([]);
  await expect.poll(() => local.platform.status().pods).toEqual([]);
  expect(readdirSync(join(local.stateDir, "workloads"))).toEqual([]);
});

test("a deleted pod comes back; a bare Pod keeps its name when it is replaced", async () => {
  const bare = (version: string): PlatformObject => {
    const { metadata, spec } = manifest(local.dir, { kind: "Pod", name: "solo", version });
    const { template } = spec as { template: { metadata: object; spec: object } };
    return {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { ...metadata, ...template.metadata },
      spec: template.spec,
      source: { file: join(local.dir, "solo.yaml"), line: 1 },
    };
  };
  await local.start([web("1"), bare("1")]);
  await local.platform.whenReady();
  const [first] = pids();
  await local.ask("DELETE", "/pods/default/web-0");
  await expect.poll(() => local.workload("web")).toMatchObject({ readyPods: 1, current: 1 });
  expect(pids()).not.toContain(first);
  const solo = (): unknown => local.platform.status().pods.find((p) => p.workload === "solo");
  const before = solo();
  await local.platform.update([web("1"), bare("2")]);
  await expect.poll(solo, soon).toMatchObject({ name: "solo", ready: true });
  expect(solo()).not.toEqual(before);
});

test("a bare Pod may end, and the mesh is ready all the same; a failed one is told", async () => {
  const bare = (name: string, script: string): PlatformObject => {
    const { spec } = manifest(local.dir, { name, container: { command: ["sh", "-c", script] } });
    const { template } = spec as { template: { metadata: object; spec: object } };
    return {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name },
      spec: { ...template.spec, restartPolicy: "Never" },
      source: { file: join(local.dir, "bare.yaml"), line: 1 },
    };
  };
  await local.start([bare("good", "exit 0"), bare("bad", "exit 4")]);
  await local.platform.whenReady();
  await expect.poll(() => local.workload("good", "Pod").ready, soon).toBe(true);
  expect(local.workload("good", "Pod").trouble).toBe("");
  await expect
    .poll(() => local.workload("bad", "Pod").trouble, soon)
    .toMatch(/^pod\/bad failed: main: ended: exit code 4/);
});

test("two autoscalers of one workload: the first has it, the other says so", async () => {
  const scaler = (name: string): PlatformObject => ({
    apiVersion: "autoscaling/v2",
    kind: "HorizontalPodAutoscaler",
    metadata: { name },
    spec: { scaleTargetRef: { kind: "Deployment", name: "web" }, minReplicas: 2, maxReplicas: 3 },
    source: { file: join(local.dir, "hpa.yaml"), line: 1 },
  });
  await local.start([web("1"), scaler("one"), scaler("two")]);
  await expect.poll(() => local.pods("web").length, soon).toBe(2);
  expect(local.workload("two", "HorizontalPodAutoscaler").trouble).toBe(
    "HorizontalPodAutoscaler two does not scale: Deployment/default/web is scaled by HorizontalPodAutoscaler/default/one",
  );
});

test("all errors of all manifests are told at once, with file and line, and nothing changes", async () => {
  await local.start([web("1")]);
  const bad = [
    web("1", { replicas: -1 }),
    web("1", { strategy: { rollingUpdate: { maxSurge: 0, maxUnavailable: "0%" } } }),
    web("1", { progressDeadlineSeconds: 5, minReadySeconds: 5 }),
    web("1", { strategy: { type: "Recreate", rollingUpdate: { maxSurge: 1 } } }),
    web("1", {}, { command: [] }),
  ];
  const refused = (await local.platform.update(bad).catch((error: Error) => error.message)) as string;
  const lines = refused.split("\n");
  expect(lines).toHaveLength(5);
  for (const line of lines) expect(line).toMatch(/app\.yaml:1: Deployment default\/web: /);
  expect(local.pods("web")).toEqual(["web-0"]);
});
