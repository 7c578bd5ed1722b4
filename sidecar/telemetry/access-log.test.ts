import { expect, test } from "vitest";
import { AccessLogBuffer, compileFormat } from "./access-log.ts";

test("commands, arguments, limits, absent values", () => {
  const line = compileFormat(
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-A):3%" %RESPONSE_CODE% 100%% %UPSTREAM_HOST%',
  );
  const values: Record<string, string> = {
    START_TIME: "now",
    "REQ(:METHOD)": "GET",
    "REQ(X-A)": "abcdef",
    RESPONSE_CODE: "200",
  };
  expect(line((c, a) => values[a === "" ? c : `${c}(${a})`] ?? null)).toBe('[now] "GET abc" 200 100% -');
});

test("a value cannot start a line, leave its quotes or send escape codes", () => {
  const line = compileFormat('"%REQ(X)%"');
  expect(line(() => 'a\r\nfake" \x1b[31m')).toBe('"a\\x0d\\x0afake\\" \\x1b[31m"');
});

test("a slow sink makes lines drop, and they are counted", async () => {
  const written: string[] = [];
  let release: (() => void) | null = null;
  const log = new AccessLogBuffer((text, done) => {
    written.push(text);
    release = done;
  }, 10);
  log.push("one");
  await expect.poll(() => written).toEqual(["one\n"]);
  log.push("two");
  log.push("three");
  log.push("four");
  expect(log.dropped).toBe(1);
  release!();
  expect(written[1]).toBe("two\nthree\n");
});
