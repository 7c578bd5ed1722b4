/** docs/fields.md is what the specs say now. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { fieldReference } from "../../scripts/field-reference.ts";

test("docs/fields.md is current: npm run docs", () => {
  expect(readFileSync(join(import.meta.dirname, "../../docs/fields.md"), "utf8")).toBe(fieldReference());
});

test("every field of every kind is described as what it takes", () => {
  const text = fieldReference();
  expect(text).toContain("| `spec.mtls.mode` |");
  expect(text).toContain("| `spec.http[].route[].weight` |");
  expect(text).toContain("| `spec.template.spec` | as `spec` of a Pod |");
  expect(text).toMatch(/\| `spec\.http\[\]\.mirror` \|.*refused/);
});
