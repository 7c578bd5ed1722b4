import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { hotPathViolations } from "./hot-path.ts";
import { sources, violations } from "./rules.ts";

const root = join(import.meta.dirname, "../..");
const bad = join(import.meta.dirname, "bad");

test("every import follows the table of who may import whom", () => {
  const found = sources(root)
    .filter((file) => !file.startsWith("test/architecture/bad/"))
    .flatMap((file) => violations(file, readFileSync(join(root, file), "utf8")));
  expect(found).toEqual([]);
});

test("the guard bites: the bad sample is refused, line by line", () => {
  const found = sources(bad).flatMap((file) => violations(file, readFileSync(join(bad, file), "utf8")));
  expect(found.map((line) => line.split(":")[0])).toEqual([
    "lib/reaches-up.ts imports sidecar/main.ts",
    "sidecar/reaches-over.ts imports control-plane/pipeline.ts",
    "sidecar/reaches-over.ts imports certs/authority/index.ts",
    "sidecar/reaches-over.ts imports ir/index.ts",
  ]);
});

test("files on the hot path keep its dialect", () => {
  const found = sources(root)
    .filter((file) => !file.startsWith("test/architecture/bad/"))
    .flatMap((file) => hotPathViolations(file, readFileSync(join(root, file), "utf8")));
  expect(found).toEqual([]);
});

test("the hot-path guard bites, and leaves types and cold lines alone", () => {
  const file = "sidecar/slow-path.ts";
  const found = hotPathViolations(file, readFileSync(join(bad, file), "utf8"));
  expect(found.map((line) => line.replace(`${file}:`, ""))).toEqual([
    "6: a promise on the hot path",
    "8: a closure on the hot path",
    "9: bind on the hot path",
    "10: a spread on the hot path",
    "11: a Map or Set on the hot path",
    "11: an array that nobody needs on the hot path",
  ]);
});
