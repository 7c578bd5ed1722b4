import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type FileSource, watchFiles } from "./file.ts";

const account = (name: string) => `apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: ${name}}\n`;
let dir: string;
let source: FileSource | undefined;
const names = () => source!.objects().map((o) => o.name);

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "wf-"));
});
afterEach(() => {
  source?.close();
  rmSync(dir, { recursive: true });
});

test("a file renamed into place, a new folder and a removed file are seen", async () => {
  const file = join(dir, "a.yaml");
  writeFileSync(file, account("one"));
  let changes = 0;
  source = watchFiles([dir], () => changes++);
  expect(names()).toEqual(["one"]);
  for (const name of ["two", "three"]) {
    writeFileSync(`${file}.new`, account(name));
    renameSync(`${file}.new`, file);
    await expect.poll(names).toEqual([name]);
  }
  expect(changes).toBe(2);
  rmSync(file);
  await expect.poll(names).toEqual([]);
});

test("a file that is being written in place keeps its last good objects until it settles", () => {
  const file = join(dir, "a.yaml");
  writeFileSync(file, account("one"));
  let now = 0;
  source = watchFiles([file], () => {}, { now: () => now });
  writeFileSync(file, "");
  now = statSync(file).mtimeMs + 1;
  source.reload();
  expect(names()).toEqual(["one"]);
  now += 1000;
  source.reload();
  expect(names()).toEqual([]);
});

test("what is renamed into place is read at once, though its inode is the former one's", () => {
  const file = join(dir, "a.yaml");
  writeFileSync(file, account("one"));
  let now = 0;
  source = watchFiles([file], () => {}, { now: () => now, renamed: dir });
  writeFileSync(file, account("two"));
  now = statSync(file).mtimeMs + 1;
  source.reload();
  expect(names()).toEqual(["two"]);
});

test("a folder is read once, by whatever links; what begins with a dot is not policy", () => {
  mkdirSync(join(dir, "..2026")); // as a ConfigMap is mounted
  writeFileSync(join(dir, "..2026/a.yaml"), account("one"));
  symlinkSync("..2026", join(dir, "..data"));
  symlinkSync("..data/a.yaml", join(dir, "a.yaml"));
  symlinkSync(".", join(dir, "itself"));
  source = watchFiles([dir], () => {});
  expect(source.objects().map((o) => o.source.file)).toEqual([join(dir, "a.yaml")]);
});

test("a pipe, a device and links that lead nowhere hold nobody up", () => {
  execFileSync("mkfifo", [join(dir, "pipe.yaml")]);
  symlinkSync("/dev/zero", join(dir, "zero.yaml"));
  symlinkSync("loop.yaml", join(dir, "loop.yaml"));
  writeFileSync(join(dir, "a.yaml"), account("one"));
  source = watchFiles([dir], () => {});
  expect(names()).toEqual(["one"]);
  const said = source.issues().map((i) => `${basename(i.file)}: ${i.message}`);
  expect(said).toEqual([
    expect.stringMatching(/^loop\.yaml: the file cannot be read: ELOOP/),
    "pipe.yaml: the file cannot be read: it is not a regular file",
    "zero.yaml: the file cannot be read: it is not a regular file",
  ]);
});
