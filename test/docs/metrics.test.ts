/** docs/metrics.md and the code name the same metrics of the same kind, both ways. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");

function inCode(): string[] {
  const found: string[] = [];
  for (const folder of ["sidecar/telemetry", "sidecar/admin"])
    for (const name of readdirSync(join(root, folder)).filter(
      (n) => n.endsWith(".ts") && !n.includes(".test."),
    ))
      for (const [, kind, metric] of readFileSync(join(root, folder, name), "utf8").matchAll(
        /\b(counter|gauge|histogram)\(\s*"([a-z0-9_]+)"/g,
      ))
        found.push(`${metric} ${kind}`);
  return found.sort();
}

test("docs/metrics.md names every metric of the code with its kind, and no other", () => {
  const text = readFileSync(join(root, "docs/metrics.md"), "utf8");
  const documented = [...text.matchAll(/^\| `([a-z0-9_]+)` \| (\w+) \|/gm)].map(
    ([, name, kind]) => `${name} ${kind}`,
  );
  expect(documented.sort()).toEqual(inCode());
});
