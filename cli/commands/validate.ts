import { together } from "../check.ts";
import type { Command } from "../command.ts";
import { EXIT } from "../errors.ts";
import { loadFile, yamlFiles } from "../yaml-files.ts";

export const validate: Command = {
  name: "validate",
  summary: "Check YAML files without a mesh: fields, hosts, conflicts, each with file and line",
  args: [{ name: "<path...>", help: "files or folders", values: "path" }],
  options: [],
  examples: ["weft validate examples/bookinfo", "weft validate policies.yaml -o json"],
  async run({ args, cwd, out }) {
    const paths = args[0] as readonly string[];
    const files = paths.flatMap((path) => yamlFiles(path, cwd));
    const results = files.map((file) => loadFile(file, cwd, !paths.includes(file)));
    const loaded = results.flatMap((result) => result.objects);
    const objects = loaded.length;
    const issues = [...results.flatMap((result) => result.issues), ...together(loaded)];
    out.result({ files: files.length, objects, issues }, () => [
      ...issues.map((i) => [
        `${i.file}:${i.line}`,
        i.level,
        i.object,
        `${i.path ? `${i.path}: ` : ""}${i.message}`,
      ]),
      [`${count(objects, "object")} in ${count(files.length, "file")}`, count(issues.length, "issue")],
    ]);
    return issues.some((issue) => issue.level === "error") ? EXIT.failure : EXIT.ok;
  },
};

const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;
