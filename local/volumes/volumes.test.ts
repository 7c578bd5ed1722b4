import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isBelow } from "./below.ts";
import { Volumes } from "./volumes.ts";

let dir: string;
beforeEach(() => {
  // Not directly in the temp folder: what leads "up" must lead to a place of this test.
  dir = join(mkdtempSync(join(tmpdir(), "weft-volumes-")), "inner");
  mkdirSync(dir);
});
afterEach(() => rmSync(dirname(dir), { recursive: true, force: true }));

test.each([
  ["to a folder", "out", "out"],
  ["to nothing yet", "out", ""],
  ["up", "..", ""],
])("a subPath over a link that leads out of its volume, %s, makes nothing there", (_what, to, made) => {
  if (made !== "") mkdirSync(join(dir, made));
  const volumes = new Volumes([{ name: "v", kind: "empty" }], {
    dir: join(dir, "volumes"),
    claimsDir: join(dir, "claims"),
    pod: {
      name: "p",
      namespace: "default",
      uid: "",
      serviceAccount: "default",
      podIp: "",
      hostIp: "",
      labels: {},
      annotations: {},
      containers: [],
      machine: { cpu: 1, memory: 1 },
    },
    objects: () => [],
    token: () => "",
  });
  volumes.prepare();
  symlinkSync(join(dir, to), join(volumes.source("v", ""), "link"));
  expect(() => volumes.source("v", "link/new")).toThrow('subPath "link/new" leads out of volume "v"');
  expect([join(dir, to, "new"), join(dir, "new")].filter((path) => existsSync(path))).toEqual([]);
  expect(volumes.source("v", "own/new")).toBe(join(dir, "volumes/v/own/new"));
});

test("a link that leads to nothing yet, or to itself, is not below the folder that holds it", () => {
  mkdirSync(join(dir, "in"));
  symlinkSync(join(dir, "missing"), join(dir, "in/away"));
  symlinkSync("loop", join(dir, "in/loop"));
  symlinkSync("new", join(dir, "in/near"));
  const below = ["away", "away/x", "loop", "near", "near/x", "new"];
  expect(below.filter((name) => isBelow(join(dir, "in", name), join(dir, "in")))).toEqual([
    "near",
    "near/x",
    "new",
  ]);
});
