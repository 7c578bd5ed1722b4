import {
  appendFileSync,
  copyFileSync,
  mkdtempSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LogReader } from "./log-file.ts";

let dir: string;
let file: string;
let said = "";
const write = (text: string): void => {
  said += text;
};
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "weft-log-"));
  file = join(dir, "app.log");
  said = "";
});
afterEach(() => rmSync(dir, { recursive: true }));

function read(last: number | null): string {
  said = "";
  const reader = new LogReader(file, last, write);
  reader.read(true);
  reader.close();
  return said;
}

test("the last lines are found from the end, however long they are", () => {
  const long = "x".repeat(100_000);
  writeFileSync(file, `one\n${long}\nthree\nfour`);
  expect(read(null)).toBe(`one\n${long}\nthree\nfour\n`);
  expect(read(0)).toBe("");
  expect(read(1)).toBe("four\n");
  expect(read(2)).toBe("three\nfour\n");
  expect(read(3)).toBe(`${long}\nthree\nfour\n`);
  expect(read(9)).toBe(read(null));
  writeFileSync(file, "one\ntwo\n");
  expect(read(1)).toBe("two\n");
  writeFileSync(file, "");
  expect(read(3)).toBe("");
});

test.each(["rename", "copy and truncate"] as const)("no line is lost over a rotation: %s", async (how) => {
  writeFileSync(file, "before\n");
  const reader = new LogReader(file, 0, write);
  const stop = new AbortController();
  const following = reader.follow(stop.signal);
  appendFileSync(file, "1\n2\n");
  await expect.poll(() => said).toBe("1\n2\n");
  appendFileSync(file, "3\n");
  if (how === "rename") {
    renameSync(file, `${file}.1`);
    appendFileSync(`${file}.1`, "4\n"); // a process that still has the old one open
    writeFileSync(file, "5\n");
  } else {
    await expect.poll(() => said).toBe("1\n2\n3\n");
    copyFileSync(file, `${file}.1`);
    truncateSync(file);
    appendFileSync(file, "4\n5\n");
  }
  await expect.poll(() => said).toBe("1\n2\n3\n4\n5\n");
  appendFileSync(file, "a line that is not whole");
  appendFileSync(file, " yet\n6\n");
  await expect.poll(() => said).toContain("a line that is not whole yet\n6\n");
  stop.abort();
  await following;
  reader.close();
});
