/** What a person meets who types `npx weft` before anything is installed, or on another Node. */
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";

const root = join(import.meta.dirname, "..");
const home = realpathSync(mkdtempSync(join(tmpdir(), "weft-bin-")));
afterAll(() => rmSync(home, { recursive: true }));

function weft(dir: string, preload: string, ...args: string[]) {
  const fake = join(home, "fake.cjs");
  writeFileSync(fake, preload);
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["--require", fake, join(dir, "cli/weft.cjs"), ...args],
    { encoding: "utf8" },
  );
  return { status, stdout, stderr };
}

test("before npm ci one sentence says what to do", () => {
  mkdirSync(join(home, "cli"));
  copyFileSync(join(root, "cli/weft.cjs"), join(home, "cli/weft.cjs"));
  expect(weft(home, "", "status")).toEqual({
    status: 1,
    stdout: "",
    stderr: `error: weft is not installed yet: run npm ci in ${home}, then this again\n`,
  });
});

test("where a dependency is missing one sentence says what to do", () => {
  const dir = join(home, "older");
  mkdirSync(join(dir, "cli"), { recursive: true });
  mkdirSync(join(dir, "node_modules/commander"), { recursive: true });
  symlinkSync(join(root, "node_modules/node"), join(dir, "node_modules/node"));
  copyFileSync(join(root, "cli/weft.cjs"), join(dir, "cli/weft.cjs"));
  writeFileSync(join(dir, "cli/main.ts"), 'import "a-package-that-is-new";\n');
  expect(weft(dir, "", "status")).toEqual({
    status: 1,
    stdout: "",
    stderr: `error: a part of weft is not installed: run npm ci in ${dir}, then this again\n`,
  });
});

test("on a Node that is too old one sentence says which is wanted", () => {
  const old = `Object.defineProperty(process, "versions", { value: { ...process.versions, node: "18.20.1" } });
    Object.defineProperty(process, "version", { value: "v18.20.1" });`;
  const { status, stderr } = weft(root, old);
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr: `error: weft needs Node 20 or newer with npm, this is v18.20.1: install one, then run npm ci in ${root}\n`,
  });
});

test("another Node than the pinned one starts the pinned one, with the same output and exit code", () => {
  const other = `Object.defineProperty(process, "execPath", { value: "/bin/sh" });`;
  expect(weft(root, other, "--version")).toEqual(weft(root, "", "--version"));
  expect(weft(root, other, "--nonsense").status).toBe(2);
});

test("no dependency says a Node of its own, of which npm would warn", () => {
  const lock: { packages: Record<string, { engines?: unknown }> } = JSON.parse(
    readFileSync(join(root, "package-lock.json"), "utf8"),
  );
  const { "": own, ...others } = lock.packages;
  expect(own?.engines).toEqual({ node: ">=20" });
  expect(Object.keys(others).filter((name) => others[name]?.engines !== undefined)).toEqual([]);
});
