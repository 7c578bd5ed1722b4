import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { weft } from "./run.ts";

const home = mkdtempSync(join(tmpdir(), "wf-"));
afterAll(() => rmSync(home, { recursive: true, force: true }));

async function run(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = "";
  let err = "";
  const code = await weft(argv, {
    stdout: process.stdout,
    env: { XDG_STATE_HOME: home },
    cwd: home,
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

const words = async (...at: string[]): Promise<string[]> =>
  (await run("complete", "--", ...at)).out
    .trimEnd()
    .split("\n")
    .map((line) => line.split("\t")[0]!);

test("commands, options and fixed values are completed without a mesh", async () => {
  expect(await words("sta")).toEqual(["status", ":4"]);
  expect(await words("up", "--mode", "")).toEqual(["auto", "transparent", "explicit", ":4"]);
  expect(await words("get", "-o", "j")).toEqual(["json", ":4"]);
  expect(await words("get", "Virt")).toEqual(["VirtualService", ":4"]);
  expect(await words("completion", "f")).toEqual(["fish", ":4"]);
  expect(await words("up", "x", "--det")).toEqual(["--detach", ":4"]);
});

test("files are left to the shell, names of a mesh that does not run are none, and nothing is an error", async () => {
  expect(await words("up", "")).toEqual([":0"]);
  expect(await words("apply", "-f", "")).toEqual([":0"]);
  expect(await run("complete", "--", "explain", "--from", "")).toEqual({ code: 0, out: ":4\n", err: "" });
  mkdirSync(join(home, "weft", "shop"), { recursive: true });
  expect(await words("status", "--mesh", "")).toEqual(["shop", ":4"]);
});

test("each shell has its script, and bash takes it", async () => {
  for (const shell of ["bash", "zsh", "fish", "powershell"])
    expect((await run("completion", shell)).out).toContain("weft");
  const { out } = await run("completion", "bash");
  execFileSync("bash", ["-n"], { input: out });
  expect(await run("completion", "tcsh")).toMatchObject({ code: 2, err: expect.stringContaining("bash") });
});
