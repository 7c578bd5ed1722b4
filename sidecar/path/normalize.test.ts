import fc from "fast-check";
import { expect, test } from "vitest";
import { normalizePath, type PathMode } from "./normalize.ts";

/** path -> what BASE, MERGE_SLASHES and DECODE_AND_MERGE_SLASHES make of it; null = 400. One value: all three. */
const rows: readonly [row: string, path: string, ...want: (string | null)[]][] = [
  ["100", "/public/../private", "/private"],
  ["100", "/public/./../private", "/private"],
  ["100", "/public/%2E%2E/private", "/private"],
  ["100", "/public/%2e/%2E%2E/private", "/private"],
  ["100", "/public/.%2e/private", "/private"],
  ["100", "/a/b/c/../../d", "/a/d"],
  ["100", "/../../a", "/a"],
  ["100", "/..", "/"],
  ["100", "/a/..", "/"],
  ["100", "/a/b/..", "/a/"],
  ["100", "/a/.", "/a/"],
  ["100", "/.", "/"],
  ["100", "/./", "/"],
  ["100", "/a/./b", "/a/b"],
  ["101", "//admin", "//admin", "/admin", "/admin"],
  ["101", "/app//../admin", "/app/admin", "/admin", "/admin"],
  ["101", "/app//admin", "/app//admin", "/app/admin", "/app/admin"],
  ["101", "/app///admin//", "/app///admin//", "/app/admin/", "/app/admin/"],
  ["101", "///", "///", "/", "/"],
  ["101", "/a/..//b", "//b", "/b", "/b"],
  ["102", "/a%2fadmin", "/a%2fadmin", "/a%2fadmin", "/a/admin"],
  ["102", "/a%2Fadmin", "/a%2Fadmin", "/a%2Fadmin", "/a/admin"],
  ["102", "/a%5cadmin", "/a%5cadmin", "/a%5cadmin", "/a/admin"],
  ["102", "/a%5Cadmin", "/a%5Cadmin", "/a%5Cadmin", "/a/admin"],
  ["102", "/a%2f%5Cadmin", "/a%2f%5Cadmin", "/a%2f%5Cadmin", "/a/admin"],
  ["102", "/a%2f..%2fadmin", "/a%2f..%2fadmin", "/a%2f..%2fadmin", "/admin"],
  ["102", "/a/..%2fadmin", "/a/..%2fadmin", "/a/..%2fadmin", "/admin"],
  ["102", "/a/..%5cadmin", "/a/..%5cadmin", "/a/..%5cadmin", "/admin"],
  ["103", "/app\\admin", "/app/admin"],
  ["103", "/\\/\\/admin", "/////admin", "/admin", "/admin"],
  ["103", "/app\\..\\admin", "/admin"],
  ["104", "/admin%00", null],
  ["104", "/%00admin?a", null],
  ["105", "/%41dmin", "/Admin"],
  ["106", "/%252e%252e/admin", "/%252e%252e/admin"],
  ["106", "/%25%32%65/admin", "/%252e/admin"],
  ["106", "/%c0%ae%c0%ae/admin", "/%c0%ae%c0%ae/admin"],
  ["106", "/%c0%afadmin", "/%c0%afadmin"],
  ["106", "/0x2e0x2e/admin", "/0x2e0x2e/admin"],
  ["106", "/.../admin", "/.../admin"],
  ["106", "/..a/admin", "/..a/admin"],
  ["106", "/a/.../b/..c", "/a/.../b/..c"],
  ["106", "/%u002e%u002e/admin", null],
  ["107", "/..;/admin", "/admin"],
  ["107", "/user/..;foo=bar/admin", "/admin"],
  ["107", "/user/..;foo=bar;x/admin", "/admin"],
  ["107", "/user/%2e%2e;/admin", "/admin"],
  ["107", "/user/..%3b/admin", "/user/..%3b/admin"],
  ["107", "/.;/admin", "/admin"],
  ["107", "/user/..;x", "/"],
  ["107", "/user/...;x/admin", "/user/...;x/admin"],
  ["108", "/admin;x=y/action", "/admin;x=y/action"],
  ["108", "/admin;a=b", "/admin;a=b"],
  ["109", "/admin?x", "/admin?x"],
  ["109", "/admin?", "/admin?"],
  ["109", "/admin/", "/admin/"],
  ["109", "/ADMIN", "/ADMIN"],
  ["109", "/a?b=/../%zz\\//", "/a?b=/../%zz\\//"],
  ["109", "/a/..?b", "/?b"],
  ["111", "/%zz", null],
  ["111", "/%", null],
  ["111", "/%2", null],
  ["111", "/%2?41", null],
  ["111", "/%%41", null],
  ["111", "/a%4g", null],
  ["111", "/a%-1", null],
];
const MODES: readonly PathMode[] = ["BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"];

test.each(rows)("%s %s", (_row, path, ...want) => {
  expect(MODES.map((mode) => normalizePath(path, mode))).toEqual(
    MODES.map((_, i) => (want.length === 1 ? want[0] : want[i])),
  );
  expect(normalizePath(path, "NONE")).toBe(path);
});

test("105: of all escapes only those of unreserved characters are decoded, and slashes where asked for", () => {
  for (let byte = 1; byte < 256; byte++) {
    for (const digits of new Set([byte.toString(16), byte.toString(16).toUpperCase()])) {
      const path = `/a%${digits.padStart(2, "0")}b`;
      const character = String.fromCharCode(byte);
      const plain = /[-._~0-9A-Za-z]/.test(character) ? `/a${character}b` : path;
      expect(
        MODES.map((mode) => normalizePath(path, mode)),
        path,
      ).toEqual([plain, plain, character === "/" || character === "\\" ? "/a/b" : plain]);
    }
  }
});

const path = fc
  .array(fc.constantFrom("/", "/", ".", ".", "..", "%2e", "%2f", "%5C", "\\", ";", "a", "%41", "%25", "?"), {
    maxLength: 12,
  })
  .map((parts) => `/${parts.join("")}`);

test("twice is once; nothing is left that a second reader could resolve", () => {
  fc.assert(
    fc.property(path, fc.constantFrom(...MODES), (target, mode) => {
      const once = normalizePath(target, mode);
      if (once === null) return;
      expect(normalizePath(once, mode)).toBe(once);
      const [bare] = once.split("?", 1) as [string];
      expect(bare.startsWith("/")).toBe(true);
      expect(bare).not.toMatch(/\\|%2e|%41/i);
      for (const segment of bare.split("/")) expect(segment).not.toMatch(/^\.\.?(;|$)/);
      if (mode !== "BASE") expect(bare).not.toContain("//");
      if (mode === "DECODE_AND_MERGE_SLASHES") expect(bare).not.toMatch(/%2f|%5c/i);
    }),
    { numRuns: 5000, seed: 20_261_125 },
  );
});
