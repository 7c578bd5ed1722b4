/** Files that hold what the code is expected to say. The folder is the table: NAME.in.yaml and what is made of it. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";

const MAX_INPUT_LINES = 60;
const MAX_OUTPUT_LINES = 150;
const updating = process.env["UPDATE_GOLDEN"] === "1";

/** Names of the cases of a folder; none where the folder is missing. */
export function casesIn(folder: string, suffix: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((file) => file.endsWith(suffix))
    .map((file) => file.slice(0, -suffix.length))
    .sort();
}

/** The input: short, and its first line says what it shows. */
export function readCase(folder: string, name: string, suffix: string): string {
  const text = readFileSync(join(folder, name + suffix), "utf8");
  expect(text.split("\n")[0], `${name}${suffix}: the first line says what it shows`).toMatch(/^# \S/);
  expect(text.trimEnd().split("\n").length, `${name}${suffix}: lines`).toBeLessThanOrEqual(MAX_INPUT_LINES);
  return text;
}

/** Empty output has no file. */
export function expectGolden(folder: string, file: string, actual: string): void {
  const path = join(folder, file);
  const text = actual === "" ? "" : `${actual.trimEnd()}\n`;
  expect(text.split("\n").length - 1, `${file}: lines; split the case`).toBeLessThanOrEqual(MAX_OUTPUT_LINES);
  if (updating) {
    if (text === "") rmSync(path, { force: true });
    else writeFileSync(path, text);
    return;
  }
  const expected = existsSync(path) ? readFileSync(path, "utf8") : "";
  expect(text, `${path} differs: if the change is meant, UPDATE_GOLDEN=1 npm test -- ${folder}`).toBe(
    expected,
  );
}

/** A golden whose input is gone is a lie that nobody checks. */
export function expectNoOrphans(folder: string, suffix: string, outputs: readonly string[]): void {
  const cases = new Set(casesIn(folder, suffix));
  const files = existsSync(folder) ? readdirSync(folder) : [];
  const orphans = files.filter((file) =>
    outputs.some((out) => out !== suffix && file.endsWith(out) && !cases.has(file.slice(0, -out.length))),
  );
  if (updating) for (const file of orphans) rmSync(join(folder, file));
  else expect(orphans, `${folder}: files without a NAME${suffix}`).toEqual([]);
}
