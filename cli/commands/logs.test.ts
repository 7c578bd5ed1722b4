import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { weft } from "../run.ts";

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "wf-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

async function logs(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = "";
  let err = "";
  const code = await weft(["logs", ...args], {
    stdout: process.stdout,
    env: { XDG_STATE_HOME: home },
    cwd: home,
    readStdin: async () => "",
    writeOut: (text) => {
      out += text;
    },
    writeErr: (text) => {
      err += text;
    },
  });
  return { code, out, err };
}

/** A mesh as its state directory tells it; each pod has written its folder's name. */
function mesh(pods: readonly { name: string; namespace: string; ready: boolean; dir?: string }[]): void {
  const state = join(home, "weft", "default");
  for (const { name, dir = name } of pods) {
    mkdirSync(join(state, "pods", dir, "logs"), { recursive: true });
    writeFileSync(join(state, "pods", dir, "logs", "app.log"), `${dir}\n`);
  }
  const items = pods.map(({ name, namespace, ready }) => ({
    kind: "Pod",
    metadata: { name, namespace, ownerReferences: [{ name: name.replace(/-\d+$/, "") }] },
    status: { conditions: [{ type: "Ready", status: ready ? "True" : "False" }] },
  }));
  writeFileSync(join(state, "platform.json"), JSON.stringify({ items }));
}

test("of two pods of one name, logs wants the namespace, and shows that one's", async () => {
  mesh([
    { name: "db-0", namespace: "one", ready: true },
    { name: "db-0", namespace: "two", ready: true, dir: "db-0.two" },
  ]);
  expect(await logs("db-0", "-n", "one")).toMatchObject({ code: 0, out: "db-0\n" });
  expect(await logs("db-0", "-n", "two")).toMatchObject({ code: 0, out: "db-0.two\n" });
  expect(await logs("db-0.two")).toMatchObject({ code: 0, out: "db-0.two\n" });
  expect(await logs("deploy/db", "-n", "two")).toMatchObject({ code: 0, out: "db-0.two\n" });
  expect(await logs("db-0")).toMatchObject({
    code: 1,
    err: expect.stringContaining("say which with -n one or -n two"),
  });
  expect(await logs("web", "-n", "two")).toMatchObject({
    code: 1,
    err: expect.stringContaining('"web" of namespace two has logs; pods: db-0'),
  });
});

test("logs of a workload are those of a pod that is ready, not of one that ends", async () => {
  mesh([
    { name: "web-0", namespace: "default", ready: false },
    { name: "web-1", namespace: "default", ready: true },
  ]);
  expect(await logs("deploy/web")).toMatchObject({ code: 0, out: "web-1\n" });
  expect(await logs("web-0")).toMatchObject({ code: 0, out: "web-0\n" });
});
