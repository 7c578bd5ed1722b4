import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
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
