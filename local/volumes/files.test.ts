import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { showFiles } from "./files.ts";

const dir = mkdtempSync(join(tmpdir(), "weft-files-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const file = (content: string, mode = 0o644) => ({ content: Buffer.from(content), mode });
const read = (name: string): string => readFileSync(join(dir, name), "utf8");

test("files change all at once by one link, as a kubelet does it; what is gone goes", () => {
  expect(
    showFiles(
      dir,
      new Map([
        ["a", file("a1")],
        ["b/c", file("c1", 0o400)],
        ["old", file("x")],
      ]),
      "1",
    ),
  ).toBe(true);
  expect([read("a"), read("b/c"), readlinkSync(join(dir, "a")), readlinkSync(join(dir, "..data"))]).toEqual([
    "a1",
    "c1",
    "..data/a",
    "..1",
  ]);
  expect(statSync(join(dir, "b/c")).mode & 0o777).toBe(0o400);
  expect(showFiles(dir, new Map([["a", file("a1")]]), "1")).toBe(false);
  const inode = statSync(join(dir, "..data")).ino;
  expect(
    showFiles(
      dir,
      new Map([
        ["a", file("a2")],
        ["b/c", file("c2")],
        ["new", file("n")],
      ]),
      "2",
    ),
  ).toBe(true);
  expect([read("a"), read("b/c"), read("new")]).toEqual(["a2", "c2", "n"]);
  expect(statSync(join(dir, "..data")).ino).not.toBe(inode);
  expect(readdirSync(dir).sort()).toEqual(["..2", "..data", "a", "b", "new"]);
});
