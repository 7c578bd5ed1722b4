import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { localPlatform, manifest } from "#test/harness/local-platform.ts";
import { meshProcesses } from "../leftovers.ts";
import type { PlatformObject } from "../object.ts";

const local = localPlatform();
const soon = { timeout: 15_000, interval: 10 };

const job = (name: string, script: string): PlatformObject =>
  manifest(local.dir, {
    kind: "Job",
    name,
    container: { command: ["sh", "-c", script] },
    pod: { restartPolicy: "Never" },
  });
const lines = (file: string): string[] => {
  try {
    return readFileSync(join(local.dir, file), "utf8").trim().split("\n");
  } catch {
    return [];
  }
};

test("kill -9 of the supervisor: what it left ends, names and addresses stay, a finished Job stays finished, one that ran begins again", async () => {
  const objects = [
    manifest(local.dir, { kind: "StatefulSet", name: "db", spec: { replicas: 2 } }),
    manifest(local.dir, { name: "web", spec: { replicas: 2 } }),
    job("done", "echo done >>done"),
    job("long", "echo begun >>long; exec sleep 1000"),
  ];
  const script = join(local.dir, "up.ts");
  writeFileSync(
    script,
    `import { startPlatform } from ${JSON.stringify(join(import.meta.dirname, "../index.ts"))};
     const p = await startPlatform({ objects: ${JSON.stringify(objects)}, stateDir: ${JSON.stringify(local.stateDir)}, mode: "explicit", dataPlane: "none" });
     const look = () => {
       const { ready, workloads, pods } = p.status();
       const done = workloads.find((w) => w.name === "done").conditions.length > 0;
       if (!ready || !done || pods.find((p) => p.workload === "long").phase !== "Running") return setTimeout(look, 10);
       console.log(JSON.stringify(pods.map((p) => [p.name, p.podIp])));
     };
     look();`,
  );
  const child = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"] });
  const said = await new Promise<string>((resolve) => {
    let text = "";
    child.stdout.on("data", (piece: Buffer) => {
      text += piece;
      if (text.endsWith("\n")) resolve(text);
    });
  });
  const addresses = JSON.parse(said) as [string, string][];
  const before = meshProcesses(local.stateDir);
  expect(before.length).toBeGreaterThanOrEqual(5);
  const exited = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await exited;
  await local.start(objects);
  await local.platform.whenReady();
  await expect.poll(() => lines("long"), soon).toEqual(["begun", "begun"]);
  expect(lines("done")).toEqual(["done"]);
  for (const pid of before) expect(meshProcesses(local.stateDir)).not.toContain(pid);
  const now = new Map(local.platform.status().pods.map((p) => [p.name, p.podIp]));
  for (const [name, ip] of addresses)
    if (now.has(name) && ip !== "") expect([name, now.get(name)]).toEqual([name, ip]);
  await local.stop();
  expect(meshProcesses(local.stateDir)).toEqual([]);
});

test.for([
  "",
  "null",
  "[]",
  '{"revisions":[null,{}],"scale":1,"undo":"x","paused":{}}',
  '{"hash":"x","done":5}',
])("what was remembered is damaged: %s", async (text) => {
  mkdirSync(join(local.stateDir, "workloads"), { recursive: true, mode: 0o700 });
  for (const key of ["Deployment_default_web", "Job_default_once"])
    writeFileSync(join(local.stateDir, "workloads", `${key}.json`), text);
  await local.start([manifest(local.dir), job("once", "exit 0")]);
  await local.platform.whenReady();
  expect(local.workload("web")).toMatchObject({ readyPods: 1, trouble: "" });
  await expect
    .poll(() => local.workload("once", "Job").conditions, soon)
    .toMatchObject([{ type: "Complete", status: "True" }]);
});

test("a process that is killed comes back in its pod; a StatefulSet waits for it before it goes on", async () => {
  await local.start([manifest(local.dir, { kind: "StatefulSet", name: "db", spec: { replicas: 2 } })]);
  await local.platform.whenReady();
  const main = () => local.platform.status().pods[0]?.containers.find((c) => c.name === "main");
  process.kill(main()?.pid ?? 0, "SIGKILL");
  await expect.poll(main, soon).toMatchObject({ restarts: 1, state: "running", ready: true });
  expect(local.pods("db")).toEqual(["db-0", "db-1"]);
});

test("where the state cannot be written (a full disk) nothing ends: operations are refused, rollouts wait and go on", async () => {
  const web = (version: string): PlatformObject => manifest(local.dir, { version });
  await local.start([web("1")]);
  await local.platform.whenReady();
  const folder = join(local.stateDir, "workloads");
  rmSync(folder, { recursive: true });
  writeFileSync(folder, "");
  await expect(local.ask("POST", "/workloads/Deployment/default/web/restart")).rejects.toThrow(
    /500: \S+Deployment_default_web\.json cannot be written \(E\w+\): nothing is changed until it can/,
  );
  expect(local.workload("web").changed).toEqual([]);
  await local.platform.update([web("2")]);
  expect(local.workload("web")).toMatchObject({ readyPods: 1, revision: 1 });
  rmSync(folder);
  mkdirSync(folder);
  await expect.poll(() => local.workload("web"), soon).toMatchObject({ revision: 2, updated: 1, current: 1 });
});
