import { expect, test } from "vitest";
import { UserError } from "../errors.ts";
import { parseRequest } from "./head.ts";

test("a request as curl takes it; path and headers stay as typed", () => {
  const asked = parseRequest(["GET", "reviews:9080/a/../b%20?q=1"], ["End-User: jason", "X-A: 1", "x-a: 2"]);
  expect(asked).toMatchObject({ port: 9080 });
  expect(asked.head).toMatchObject({ method: "GET", authority: "reviews:9080", path: "/a/../b%20?q=1" });
  expect(asked.head?.get("end-user")).toBe("jason");
  expect(asked.head?.getAll("x-a")).toEqual(["1", "2"]);
  expect(parseRequest(["http://a"], []).head).toMatchObject({ method: "GET", path: "/" });
  expect(parseRequest(["http://a?x=1"], []).head?.path).toBe("/?x=1");
  expect(parseRequest(["http://a/"], ["Host: b.test"]).head?.authority).toBe("b.test");
  expect(parseRequest(["https://a/"], []).port).toBe(443);
});

test("a TCP connection has a host and a port, and nothing else", () => {
  expect(parseRequest(["tcp://redis:6379"], [])).toMatchObject({ port: 6379, head: null });
});

test.each([
  [["tcp://redis"], []],
  [["GET", "tcp://redis:6379"], []],
  [["tcp://redis:6379"], ["a: b"]],
  [["G T", "http://a/"], []],
  [["GET", "ftp://a/"], []],
  [["GET", "http://a b/"], []],
  [["GET", "http://a/", "more"], []],
  [["GET", "http://a/"], ["no colon"]],
])("%j %j is wrong usage", (words, headers) => {
  expect(() => parseRequest(words, headers)).toThrow(UserError);
});
