import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { systemError } from "./errors.ts";

const thrown = (run: () => unknown): unknown => {
  try {
    return run();
  } catch (error) {
    return error;
  }
};

test("errors of the operating system are one sentence about the thing that failed", async () => {
  expect(systemError(thrown(() => readFileSync("/nowhere/at/all")))).toBe(
    "/nowhere/at/all: no such file or program (ENOENT)",
  );
  expect(systemError(thrown(() => writeFileSync("/dev/full", "x")))).toMatch(
    /no space left on the disk.*\(ENOSPC\)/,
  );
  expect(systemError(spawnSync("/nowhere/program").error)).toMatch(/no such file or program \(ENOENT\)$/);
  const refused = await new Promise((done) => connect(1, "127.0.0.1").once("error", done));
  expect(systemError(refused)).toBe("127.0.0.1:1: nothing listens there (ECONNREFUSED)");
  expect(systemError(new Error("fetch failed", { cause: refused }))).toContain("ECONNREFUSED");
});

test("what is ours is not taken for one of the system", () => {
  expect(systemError(new TypeError("x is undefined"))).toBeNull();
  expect(systemError(Object.assign(new Error("bad"), { code: "ERR_INVALID_ARG_TYPE" }))).toBeNull();
  expect(systemError("text")).toBeNull();
});

test("a full disk under the state directory is told in one sentence, not as a bug in weft", () => {
  const home = mkdtempSync(join(tmpdir(), "weft-full-"));
  // Every path below a file is "not a directory": as near to a broken disk as is to be had without one.
  writeFileSync(join(home, "file"), "");
  const { status, stderr } = spawnSync(
    process.execPath,
    [join(import.meta.dirname, "main.ts"), "validate", join(home, "file", "x.yaml")],
    { encoding: "utf8" },
  );
  expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringMatching(/^error: [^\n]+\n$/) });
  expect(stderr).not.toContain("bug in weft");
  rmSync(home, { recursive: true });
});
