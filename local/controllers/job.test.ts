import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { localPlatform, manifest } from "#test/harness/local-platform.ts";
import type { PlatformObject } from "../object.ts";

const local = localPlatform();
const soon = { timeout: 15_000, interval: 10 };

function job(script: string, spec: object = {}, pod: object = {}): PlatformObject {
  return manifest(local.dir, {
    kind: "Job",
    name: "task",
    spec,
    container: { command: ["sh", "-c", script] },
    pod: { restartPolicy: "Never", ...pod },
  });
}
const status = () => local.workload("task", "Job");
const finished = () =>
  expect.poll(() => status().conditions.find((c) => c.type === "Complete" || c.type === "Failed"), soon);
const said = (): string[] => {
  try {
    return readFileSync(join(local.dir, "said"), "utf8").trim().split("\n").sort();
  } catch {
    return [];
  }
};
const states = () => local.platform.status().pods.map((p) => `${p.name} ${p.phase} ${p.reason}`);

test("a Job is done when its pod has succeeded, and is not run again when the mesh starts again", async () => {
  await local.start([job("echo ran >>said")]);
  await local.platform.whenReady();
  await finished().toMatchObject({ type: "Complete", status: "True", reason: "CompletionsReached" });
  expect(status()).toMatchObject({ ready: true, job: { active: 0, succeeded: 1, failed: 0 } });
  await expect.poll(states).toEqual(["task-0 Succeeded Completed"]);
  expect(local.platform.status().pods[0]?.podIp).toBe("");
  await local.stop();
  await local.start([job("echo ran >>said")]);
  await local.platform.whenReady();
  expect(status().conditions).toMatchObject([{ type: "Complete", status: "True" }]);
  expect(said()).toEqual(["ran"]);
  // Another template is another Job.
  await local.platform.update([job("echo anew >>said")]);
  await expect.poll(said, soon).toEqual(["anew", "ran"]);
  await finished().toMatchObject({ type: "Complete" });
  expect(status().changed).toEqual(["its pod template has changed: it runs anew"]);
});

test("completions and parallelism: so many at a time until so many have succeeded", async () => {
  let most = 0;
  await local.start(
    [job("echo $HOSTNAME >>said; until test -e go; do sleep 0.02; done", { completions: 5, parallelism: 2 })],
    {
      onChange: () => {
        most = Math.max(most, local.platform.status().pods.filter((p) => p.phase === "Running").length);
      },
    },
  );
  await expect.poll(said, soon).toEqual(["task-0", "task-1"]);
  local.touch("go");
  await finished().toMatchObject({ type: "Complete" });
  expect(said()).toEqual(["task-0", "task-1", "task-2", "task-3", "task-4"]);
  expect(most).toBeLessThanOrEqual(2);
  expect(status().job).toMatchObject({ succeeded: 5 });
});

test("a work queue: no completions; when one pod has succeeded no other begins, and all end", async () => {
  const script =
    "echo $HOSTNAME >>said; test $HOSTNAME = task-0 && exit 0; until test -e go; do sleep 0.02; done";
  await local.start([job(script, { parallelism: 2 })]);
  await expect.poll(() => status().job, soon).toMatchObject({ active: 1, succeeded: 1 });
  expect(status().conditions).toEqual([]);
  local.touch("go");
  await finished().toMatchObject({ type: "Complete" });
  expect(said()).toEqual(["task-0", "task-1"]);
});

test("Indexed: each index once, told to the pod; a failed index is tried again by itself", async () => {
  const script =
    "echo $JOB_COMPLETION_INDEX $HOSTNAME >>said; test $JOB_COMPLETION_INDEX != 1 || mkdir once 2>/dev/null || exit 0; test $JOB_COMPLETION_INDEX != 1";
  await local.start([job(script, { completionMode: "Indexed", completions: 3, parallelism: 3 })]);
  await finished().toMatchObject({ type: "Complete" });
  expect(said()).toEqual(["0 task-0", "1 task-1", "1 task-1", "2 task-2"]);
  expect(status().job).toMatchObject({ succeeded: 3, failed: 1 });
});

test("backoffLimit: after so many failures the Job has failed, and says which pod and how", async () => {
  await local.start([job("exit 3", { backoffLimit: 1 })]);
  await finished().toMatchObject({
    type: "Failed",
    reason: "BackoffLimitExceeded",
    message: "it failed 2 times: task-1: exit code 3",
  });
  expect(status()).toMatchObject({ ready: true, job: { active: 0, failed: 2 } });
  // Its pods stay to be looked at.
  expect(states()).toEqual(["task-0 Failed Error", "task-1 Failed Error"]);
});

test("OnFailure: the container is started again in its pod, and that counts against backoffLimit", async () => {
  await local.start([job("exit 1", { backoffLimit: 0 }, { restartPolicy: "OnFailure" })]);
  await finished().toMatchObject({ type: "Failed", reason: "BackoffLimitExceeded" });
  await expect.poll(() => status().job?.active, soon).toBe(0);
});

test("activeDeadlineSeconds ends it; backoffLimitPerIndex lets the other indexes go on", async () => {
  await local.start([job("sleep 1000", { activeDeadlineSeconds: 1 })]);
  await finished().toMatchObject({ type: "Failed", reason: "DeadlineExceeded" });
  await expect.poll(() => local.platform.status().pods, soon).toEqual([]);
  const script = "test $JOB_COMPLETION_INDEX != 0";
  const spec = { completionMode: "Indexed", completions: 2, parallelism: 2, backoffLimitPerIndex: 0 };
  await local.platform.update([job(script, spec)]);
  await finished().toMatchObject({ type: "Failed", reason: "FailedIndexes", message: "indexes failed: 0" });
  expect(status().job).toMatchObject({ succeeded: 1, failed: 1 });
});

test("suspend: nothing runs until it is resumed; ttlSecondsAfterFinished takes the pods away, and it does not run again", async () => {
  const spec = { ttlSecondsAfterFinished: 1 };
  await local.start([job("echo ran >>said", { ...spec, suspend: true })]);
  await local.platform.whenReady();
  expect(status().conditions).toMatchObject([{ type: "Suspended", status: "True" }]);
  expect(said()).toEqual([]);
  await local.platform.update([job("echo ran >>said", spec)]);
  await finished().toMatchObject({ type: "Complete" });
  await expect.poll(() => local.platform.status().pods, soon).toEqual([]);
  await local.stop();
  await local.start([job("echo ran >>said", spec)]);
  expect(said()).toEqual(["ran"]);
  expect(local.platform.status().pods).toEqual([]);
});
