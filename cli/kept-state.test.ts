import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { keptState, otherStates, sizeOf } from "./kept-state.ts";
import { weft } from "./run.ts";

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "wf-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

function mesh(name: string): string {
  const dir = join(home, "weft", name);
  mkdirSync(join(dir, "ca"), { recursive: true, mode: 0o700 });
  mkdirSync(join(dir, "pods/web-0/logs"), { recursive: true });
  writeFileSync(join(dir, "ca/root.pem"), "x".repeat(1_000));
  writeFileSync(join(dir, "pods/web-0/logs/web.log"), "x".repeat(5_000));
  writeFileSync(join(dir, "traces.db"), "x".repeat(4_000));
  return dir;
}

async function down(...args: string[]): Promise<{ code: number; out: string }> {
  let out = "";
  const code = await weft(["down", ...args], {
    stdout: process.stdout,
    env: { XDG_STATE_HOME: home },
    cwd: home,
    writeOut: (text) => {
      out += text;
    },
    writeErr: () => {},
    readStdin: async () => "",
  });
  return { code, out };
}

test("down tells what is kept, how large it is and how it is removed; also of meshes that nobody uses", async () => {
  const dir = mesh("default");
  mesh("shop");
  expect(await down()).toEqual({
    code: 0,
    out: expect.stringMatching(
      /^no mesh was running\nkept \S+\/default \(10 kB\): the certificate authority and keys, logs, traces\n`npx weft down --purge` removes it\nother meshes .*\n {2}shop: 10 kB, last used \d+s ago; `npx weft down --mesh shop --purge`\n$/,
    ),
  });
  expect(existsSync(join(dir, "ca/root.pem"))).toBe(true);
});

test("down --purge removes it, and says what it removed", async () => {
  const dir = mesh("default");
  const outside = join(home, "outside.txt");
  writeFileSync(outside, "not the mesh's");
  symlinkSync(outside, join(dir, "link"));
  expect((await down("--purge")).out).toMatch(
    /removed \S+\/default \(1[01] kB\): the certificate authority and keys, logs, traces/,
  );
  expect([existsSync(dir), existsSync(outside)]).toEqual([false, true]);
  expect((await down("--purge")).out).toBe("no mesh was running\nnothing was kept\n");
});

test("a mesh that runs is none that nobody uses", () => {
  const dir = mesh("default");
  mesh("shop");
  expect(otherStates(dir, () => true)).toEqual([]);
  expect(otherStates(dir, () => false).map((one) => one.mesh)).toEqual(["shop"]);
  expect(keptState(join(home, "weft/none"))).toBeNull();
  expect([900, 5_000, 48e6, 2.5e9].map(sizeOf)).toEqual(["1 kB", "5 kB", "48 MB", "2.5 GB"]);
});
