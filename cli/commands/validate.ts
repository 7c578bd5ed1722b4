import type { Command } from "../command.ts";
import { EXIT } from "../errors.ts";
import { loadFile, yamlFiles } from "../yaml-files.ts";

export const validate: Command = {
  name: "validate",
  summary: "Check YAML files without a mesh: every unknown or unsupported field, with file and line",
  args: [{ name: "<path...>", help: "files or folders" }],
  options: [],
  examples: ["weft validate examples/bookinfo", "weft validate policies.yaml -o json"],
  async run({ args, cwd, out }) {
    const files = (args[0] as readonly string[]).flatMap((path) => yamlFiles(path, cwd));
    const results = files.map((file) => loadFile(file, cwd));
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
