import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { load } from "./load.ts";

const OURS = join(import.meta.dirname, "../test/mesh/samples");
const ISTIO = join(import.meta.dirname, "../../shared/samples/istio");
/** Of Istio's samples: what must load without a word. */
const MUST =
  /^bookinfo\/(networking|gateway-api)\/|^bookinfo\/platform\/kube\/bookinfo\.yaml$|^httpbin\/(?!sample-client)/;

const filesIn = (root: string, pattern: RegExp): (readonly [string, string])[] =>
  existsSync(root)
    ? readdirSync(root, { recursive: true, encoding: "utf8" })
        .filter((file) => pattern.test(file))
        .map((file) => [file, join(root, file)] as const)
    : [];

test.each(filesIn(OURS, /\.yaml$/))("our own %s loads without a word", (file, path) => {
  const { objects, issues } = load(readFileSync(path, "utf8"), file);
  expect(issues).toEqual([]);
  expect(objects.length).toBeGreaterThan(0);
});

// Istio's samples may be a folder beside the repository; where they are not, our own above show the same.
for (const [file, path] of filesIn(ISTIO, /^(bookinfo|httpbin).*\.yaml$/))
  test(`Istio's ${file} loads, or is refused with a place and a reason`, () => {
    const { objects, issues } = load(readFileSync(path, "utf8"), file);
    if (MUST.test(file)) expect(issues).toEqual([]);
    expect(objects.length + issues.length).toBeGreaterThan(0);
    for (const issue of issues) {
      expect(issue.line).toBeGreaterThan(0);
      expect(issue.message).not.toMatch(/undefined|TypeError/);
    }
  });
