import { expect, test } from "vitest";
import { normalizePath, type PathMode } from "./normalize.ts";

const rows: readonly [PathMode, string, string | null][] = [
  ["BASE", "/public/../private", "/private"],
  ["BASE", "/public/./../private", "/private"],
  ["BASE", "/public/%2e/%2E%2E/private", "/private"],
  ["BASE", "/app\\admin", "/app/admin"],
  ["MERGE_SLASHES", "/\\/\\/admin", "/admin"],
  ["BASE", "/a%2fadmin", "/a%2fadmin"],
  ["DECODE_AND_MERGE_SLASHES", "/a%2f%5Cadmin", "/a/admin"],
  ["BASE", "//admin", "//admin"],
  ["MERGE_SLASHES", "/app//../admin", "/admin"],
  ["MERGE_SLASHES", "//admin", "/admin"],
  ["BASE", "/admin%00", null],
  ["BASE", "/%zz", null],
  ["BASE", "/%", null],
  ["BASE", "/%2", null],
  ["BASE", "/%41dmin", "/Admin"],
  ["BASE", "/%252e%252e/admin", "/%252e%252e/admin"],
  ["BASE", "/%c0%ae%c0%ae/admin", "/%c0%ae%c0%ae/admin"],
  ["BASE", "/.../admin", "/.../admin"],
  ["BASE", "/user/..;foo=bar/admin", "/admin"],
  ["BASE", "/.;/admin", "/admin"],
  ["BASE", "/admin;x=y/action", "/admin;x=y/action"],
  ["BASE", "/a?b=/../%zz", "/a?b=/../%zz"],
  ["NONE", "/a/../b", "/a/../b"],
];
test.each(rows)("%s %s -> %s", (mode, from, to) => {
  expect(normalizePath(from, mode)).toBe(to);
});
