import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { load } from "./load.ts";

const root = join(import.meta.dirname, "../../shared/samples/istio");
const files = existsSync(root)
  ? readdirSync(root, { recursive: true, encoding: "utf8" }).filter((f) =>
      /^(bookinfo|httpbin).*\.yaml$/.test(f),
    )
  : [];
const MUST =
  /^bookinfo\/(networking|gateway-api)\/|^bookinfo\/platform\/kube\/bookinfo\.yaml$|^httpbin\/(?!sample-client)/;

// Skipped where the sample collection does not stand beside the repository.
describe.skipIf(files.length === 0)("Istio's samples", () => {
  test.each(files)("%s loads, or is refused with a place and a reason", (file) => {
    const { objects, issues } = load(readFileSync(join(root, file), "utf8"), file);
    if (MUST.test(file)) expect(issues).toEqual([]);
    expect(objects.length + issues.length).toBeGreaterThan(0);
    for (const issue of issues) {
      expect(issue.line).toBeGreaterThan(0);
      expect(issue.message).not.toMatch(/undefined|TypeError/);
    }
  });
});
