import { expect, test } from "vitest";
import { Problems } from "./problems.ts";
import { compileSubstitution } from "./regex.ts";

test.for([
  ["/(\\w+)/(\\w+)", "/\\2/\\1", "/a/b", "/b/a"],
  ["/(\\w+)", "/\\10", "/a", "/a0"],
  ["/(\\w+)", "/\\0", "/a", "//a"],
  ["/(\\w+)", "/\\\\1", "/a", "/\\1"],
  ["/(\\w+)", "/$1\\\\", "/a", "/$1\\"],
  ["a", "bb", "/a/a", "/bb/bb"],
] as const)("%s -> %s: %s becomes %s", ([pattern, substitution, path, expected]) => {
  const problems = new Problems();
  expect(compileSubstitution(pattern, substitution, problems)(path)).toBe(expected);
});

test("a group that the pattern does not have is an error of the configuration, not of a request", () => {
  const problems = new Problems();
  compileSubstitution("/a", "/\\1", problems);
  expect(problems.errors).toEqual(['substitution "/\\\\1": the pattern has 0 groups']);
});
