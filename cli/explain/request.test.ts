import { expect, test } from "vitest";
import { UserError } from "../errors.ts";
import { readRequest } from "./request.ts";

test("a request as curl takes it; path and headers stay as typed", () => {
  const asked = readRequest("GET", "reviews:9080/a/../b%20?q=1", ["End-User: jason", "X-A: 1", "x-a: 2"]);
  expect(asked).toMatchObject({ host: "reviews", port: 9080 });
  expect(asked.head).toMatchObject({ authority: "reviews:9080", path: "/a/../b%20?q=1" });
  expect(asked.head.get("end-user")).toBe("jason");
  expect(asked.head.getAll("x-a")).toEqual(["1", "2"]);
  expect(readRequest("GET", "http://a", []).head.path).toBe("/");
  expect(readRequest("GET", "http://a/", ["Host: b.test"]).head.authority).toBe("b.test");
});

test.each([
  ["G T", "http://a/", []],
  ["GET", "https://a/", []],
  ["GET", "http://a b/", []],
  ["GET", "http://a/", ["no colon"]],
])("%s %s %j is wrong usage", (method, url, headers) => {
  expect(() => readRequest(method, url, headers)).toThrow(UserError);
});
