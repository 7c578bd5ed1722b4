/** docs/errors.md and the code name the same response code details, both ways. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
const PLACES = ["sidecar/http", "sidecar/http1"];

function inCode(): Set<string> {
  const files = PLACES.flatMap((folder) =>
    readdirSync(join(root, folder))
      .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"))
      .map((name) => readFileSync(join(root, folder, name), "utf8")),
  );
  const found = new Set<string>();
  for (const text of files) {
    const table = text.matchAll(/\bdetail(?:: | = )"([^"]+)"/g);
    // The first string after the status is the detail: a body may follow it.
    const calls = [...text.matchAll(/\brespond\(([^;]*)\);/g)].flatMap(([, args]) => {
      const strings = [...args!.matchAll(/"([a-z0-9_.]+)"/g)].map((match) => match[1]!);
      return args!.includes("?") ? strings : strings.slice(0, 1);
    });
    for (const detail of [...[...table].map((match) => match[1]!), ...calls]) found.add(detail);
  }
  return found;
}

test("docs/errors.md names every detail of the code, and no other", () => {
  const text = readFileSync(join(root, "docs/errors.md"), "utf8");
  const documented = [...text.matchAll(/^\| `([^`]+)`/gm)].map((match) => match[1]!);
  expect(new Set(documented).size).toBe(documented.length);
  expect([...documented].sort()).toEqual([...inCode()].sort());
});
