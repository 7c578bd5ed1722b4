import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { weft } from "../run.ts";

const dir = mkdtempSync(join(tmpdir(), "wf-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function run(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = "";
  let err = "";
  const code = await weft(argv, {
    stdout: process.stdout,
    env: { XDG_STATE_HOME: dir },
    cwd: dir,
    writeOut: (text) => {
      out += text;
    },
    writeErr: (text) => {
      err += text;
    },
    readStdin: async () => "",
  });
  return { code, out, err };
}

const virtualService = (field: string): string => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - ${field}: [{destination: {host: reviews, subset: v1}}]
`;

test("a good file passes; a misspelt field fails with file, line and path", async () => {
  writeFileSync(join(dir, "good.yaml"), virtualService("route"));
  writeFileSync(join(dir, "bad.yaml"), virtualService("rout"));
  expect(await run("validate", "good.yaml")).toMatchObject({ code: 0, err: "" });
  const bad = await run("validate", "bad.yaml", "-o", "json");
  expect(bad.code).toBe(1);
  expect(JSON.parse(bad.out).issues[0]).toMatchObject({ file: "bad.yaml", line: 7, code: "unknown-field" });
});

test("broken YAML and a missing file are one clear error each", async () => {
  writeFileSync(join(dir, "broken.yaml"), "a: [1,\nb: }");
  const broken = await run("validate", "broken.yaml");
  expect(broken.code).toBe(1);
  expect(broken.out).toContain("broken.yaml:");
  expect(broken.out).not.toMatch(/\bat .*\.ts/);
  expect(await run("validate", "nowhere")).toMatchObject({
    code: 1,
    err: "error: nowhere: no such file or folder\n",
  });
});
