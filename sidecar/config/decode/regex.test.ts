import { expect, test } from "vitest";
import { Problems } from "./problems.ts";
import { compileRegex, compileSubstitution } from "./regex.ts";

test("a program above the limit is refused, as by an Envoy with Istio's runtime", () => {
  const pattern = "(x?){1000}".repeat(9);
  const problems = new Problems();
  expect(compileRegex(pattern, problems)("x")).toBe(false);
  expect(compileSubstitution(pattern, "", problems)("x")).toBe("x");
  const said = expect.stringMatching(/program size of \d+ > max program size of 32768$/);
  expect(problems.errors).toEqual([said, said]);
  const fine = new Problems();
  expect(compileRegex("(x?){1000}", fine)("xx")).toBe(true);
  expect(fine.errors).toEqual([]);
});
