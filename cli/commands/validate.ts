import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { load } from "#policies/load.ts";
import type { Command } from "../command.ts";
import { EXIT, UserError } from "../errors.ts";

const YAML = /\.(ya?ml|json)$/;

export const validate: Command = {
  name: "validate",
  summary: "Check YAML files without a mesh: every unknown or unsupported field, with file and line",
  args: [{ name: "<path...>", help: "files or folders" }],
  options: [],
  examples: ["weft validate examples/bookinfo", "weft validate policies.yaml -o json"],
  async run({ args, cwd, out }) {
    const files = (args[0] as readonly string[]).flatMap((path) => yamlFiles(path, cwd));
    const results = files.map((file) => load(readFileSync(resolve(cwd, file), "utf8"), file));
    const objects = results.reduce((sum, result) => sum + result.objects.length, 0);
    const issues = results.flatMap((result) => result.issues);
    out.result({ files: files.length, objects, issues }, () => [
      ...issues.map((i) => [
        `${i.file}:${i.line}`,
        i.level,
        i.object,
        `${i.path ? `${i.path}: ` : ""}${i.message}`,
      ]),
      [`${objects} objects in ${files.length} files`, `${issues.length} issues`],
    ]);
    return issues.some((issue) => issue.level === "error") ? EXIT.failure : EXIT.ok;
  },
};

/** A file as it is named; a folder's YAML and JSON files, recursively, sorted. */
function yamlFiles(path: string, cwd: string): string[] {
  const stat = statSync(resolve(cwd, path), { throwIfNoEntry: false });
  if (stat === undefined) throw new UserError(`${path}: no such file or folder`);
  if (!stat.isDirectory()) return [path];
  return readdirSync(resolve(cwd, path), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && YAML.test(entry.name))
    .map((entry) => relative(cwd, join(entry.parentPath, entry.name)))
    .sort();
}
