import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { localPlatform, manifest, readyWhen } from "#test/harness/local-platform.ts";
import type { RolloutHistory } from "../contract.ts";
import type { PlatformObject } from "../object.ts";

const local = localPlatform();
const soon = { timeout: 15_000, interval: 10 };

function db(version: string, spec: object = {}, container: object = {}): PlatformObject {
  return manifest(local.dir, { kind: "StatefulSet", name: "db", version, spec, container });
}
const status = () => local.workload("db", "StatefulSet");
const complete = () => expect.poll(() => status().rollout?.state, soon).toBe("complete");
/** "db-0@1*": name, revision, ready. */
const pods = (): string[] =>
  local.platform
    .status()
    .pods.map((p) => `${p.name}@${p.revision}${p.reason === "Terminating" ? "-" : p.ready ? "*" : ""}`)
    .sort();
/** Every state that `pods` was in, each once. */
function record(): string[] {
  const seen: string[] = [];
  const look = (): void => {
    const now = pods().join(" ");
    if (seen.at(-1) !== now) seen.push(now);
  };
  watchers.add(look);
  return seen;
}
const watchers = new Set<() => void>();
const onChange = (): void => watchers.forEach((look) => void look());

test("pods begin in order, each when the one before is ready, and end from the last down", async () => {
  await local.start([db("1", { replicas: 3 }, readyWhen("$HOSTNAME"))], { onChange });
  for (const name of ["db-0", "db-1", "db-2"]) {
    await expect.poll(() => pods().at(-1), soon).toBe(`${name}@1`);
    local.touch(name);
  }
  await complete();
  const seen = record();
  await local.platform.update([db("1", { replicas: 1 }, readyWhen("$HOSTNAME"))]);
  await expect.poll(pods, soon).toEqual(["db-0@1*"]);
  expect(seen.every((state) => !state.includes("db-1@1-") || !state.includes("db-2"))).toBe(true);
});

test("Parallel: all at once", async () => {
  const spec = { replicas: 3, podManagementPolicy: "Parallel" };
  await local.start([db("1", spec, readyWhen("go"))]);
  await expect.poll(pods, soon).toEqual(["db-0@1", "db-1@1", "db-2@1"]);
  local.touch("go");
  await complete();
});

test("a rolling update goes from the last down, one at a time; names and addresses stay", async () => {
  const spec = { replicas: 3 };
  await local.start([db("1", spec)], { onChange });
  await complete();
  const addresses = () =>
    local.platform
      .status()
      .pods.map((p) => [p.name, p.podIp])
      .sort();
  const before = addresses();
  const seen = record();
  await local.platform.update([db("2", spec)]);
  await complete();
  expect(addresses()).toEqual(before);
  const missing = (state: string) => 3 - state.split(" ").filter((p) => p.endsWith("*")).length;
  expect(Math.max(...seen.map(missing))).toBe(1);
  expect(seen.find((state) => state.includes("@2"))).toMatch(/^db-0@1\* db-1@1\* db-2@2/);
  await local.stop();
  await local.start([db("2", spec)]);
  await complete();
  expect(addresses()).toEqual(before);
});

test("partition: only the last are new, and a pod below it is made anew as it was, also after a restart of the mesh", async () => {
  const spec = (partition: number): object => ({
    replicas: 3,
    updateStrategy: { rollingUpdate: { partition } },
  });
  await local.start([db("1", spec(0))]);
  await complete();
  await local.platform.update([db("2", spec(2))]);
  await expect.poll(pods, soon).toEqual(["db-0@1*", "db-1@1*", "db-2@2*"]);
  expect(status().rollout).toMatchObject({
    state: "complete",
    message: expect.stringContaining("1 new pods have been updated"),
  });
  await local.ask("DELETE", "/pods/default/db-0");
  await expect.poll(pods, soon).toEqual(["db-0@1*", "db-1@1*", "db-2@2*"]);
  await local.stop();
  await local.start([db("2", spec(2))]);
  await expect.poll(pods, soon).toEqual(["db-0@1*", "db-1@1*", "db-2@2*"]);
  await local.platform.update([db("2", spec(0))]);
  await expect.poll(pods, soon).toEqual(["db-0@2*", "db-1@2*", "db-2@2*"]);
});

test("OnDelete: a pod is new when somebody deletes the old one; undo and restart are for it, too", async () => {
  const spec = { replicas: 2, updateStrategy: { type: "OnDelete" } };
  await local.start([db("1", spec)]);
  await complete();
  await local.platform.update([db("2", spec)]);
  expect(pods()).toEqual(["db-0@1*", "db-1@1*"]);
  await local.ask("DELETE", "/pods/default/db-1");
  await expect.poll(pods, soon).toEqual(["db-0@1*", "db-1@2*"]);
  await local.ask("POST", "/workloads/StatefulSet/default/db/undo");
  await expect.poll(() => status().revision).toBe(3);
  const { revisions } = await local.ask<RolloutHistory>("GET", "/workloads/StatefulSet/default/db/history");
  expect(revisions.map((r) => r.revision)).toEqual([2, 3]);
});

test("a template that never gets ready is replaced by the next good one", async () => {
  await local.start([db("1", { replicas: 2 })]);
  await complete();
  await local.platform.update([db("2", { replicas: 2 }, readyWhen("never"))]);
  await expect.poll(pods, soon).toEqual(["db-0@1*", "db-1@2"]);
  await local.platform.update([db("3", { replicas: 2 })]);
  await expect.poll(pods, soon).toEqual(["db-0@3*", "db-1@3*"]);
});

test("two namespaces may each have a db-0, and a Deployment of the same name takes no name of its pods", async () => {
  const other = manifest(local.dir, { kind: "StatefulSet", name: "db", namespace: "shop" });
  await local.start([manifest(local.dir, { name: "db" }), db("1", { replicas: 1 }), other]);
  await local.platform.whenReady();
  const found = local.platform.status().pods.map((p) => `${p.kind} ${p.namespace}/${p.name}`);
  expect(found.sort()).toEqual([
    "Deployment default/db-1",
    "StatefulSet default/db-0",
    "StatefulSet shop/db-0",
  ]);
  expect(new Set(local.platform.status().pods.map((p) => p.podIp)).size).toBe(3);
});

test("each pod has its claim's folder again; what is scaled away keeps it, unless the set says Delete", async () => {
  const claims = (whenScaled: string): object => ({
    volumeClaimTemplates: [{ metadata: { name: "data" }, spec: { accessModes: ["ReadWriteOnce"] } }],
    persistentVolumeClaimRetentionPolicy: { whenScaled },
  });
  const mounts = { volumeMounts: [{ name: "data", mountPath: "/data" }] };
  const folders = (): string[] => readdirSync(join(local.stateDir, "volumes", "default")).sort();
  await local.start([db("1", { replicas: 2, ...claims("Retain") }, mounts)]);
  await complete();
  expect(folders()).toEqual(["data-db-0", "data-db-1"]);
  await local.platform.update([db("1", { replicas: 1, ...claims("Retain") }, mounts)]);
  await expect.poll(pods, soon).toEqual(["db-0@1*"]);
  expect(folders()).toEqual(["data-db-0", "data-db-1"]);
  await local.platform.update([db("1", { replicas: 2, ...claims("Delete") }, mounts)]);
  await complete();
  await local.platform.update([db("1", { replicas: 1, ...claims("Delete") }, mounts)]);
  await expect.poll(folders, soon).toEqual(["data-db-0"]);
});
