import { expect, test } from "vitest";
import { DomainIndex } from "./domain.ts";
import { withoutPort } from "./table.ts";

test("exact, then longest suffix, then longest prefix, then any", () => {
  const index = new DomainIndex<string>();
  for (const domain of ["*", "*.com", "*.foo.com", "a.foo.com", "b.*"]) index.add(domain, domain);
  expect(["A.foo.com", "x.foo.com", "x.com", "b.net", "c.net"].map((host) => index.find(host))).toEqual([
    "a.foo.com",
    "*.foo.com",
    "*.com",
    "b.*",
    "*",
  ]);
  expect(index.add("A.FOO.com", "again")).toBe(false);
});

test("the port goes, an IPv6 address stays whole", () => {
  expect(["a:80", "a", "[::1]:80", "[::1]", "::1"].map(withoutPort)).toEqual([
    "a",
    "a",
    "[::1]",
    "[::1]",
    "::1",
  ]);
});
