import { expect, test } from "vitest";
import { UserError } from "./errors.ts";
import { labelSelector } from "./selector.ts";

const labels = { app: "web", version: "v2", canary: "" };

test.each([
  ["app=web", true],
  ["app==web", true],
  ["app = web", true],
  ["app=web,version=v1", false],
  ["app!=web", false],
  ["other!=web", true],
  ["canary", true],
  ["!canary", false],
  ["!other", true],
  ["canary=", true],
  ["app in (api, web)", true],
  ["app in (api),version=v2", false],
  ["version notin (v1, v3), app in (web,api)", true],
  ["other notin (v1)", true],
])("%s: %s", (text, expected) => {
  expect(labelSelector(text)(labels)).toBe(expected);
});

test.each(["app=web=x", "app is web", "app in web", "=", ",", "a b"])("%s is refused", (text) => {
  expect(() => labelSelector(text)).toThrow(UserError);
});
