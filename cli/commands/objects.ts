import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { AdminClient } from "../admin-client.ts";
import type { Command, Input } from "../command.ts";
import { EXIT, UserError } from "../errors.ts";
import { kindOf } from "../kind-names.ts";

export const apply: Command = {
  name: "apply",
  summary: "Apply YAML to a running mesh: checked against everything else first, kept until `weft delete`",
  args: [],
  options: [{ flags: "-f, --filename <file>", help: "a YAML file, or - for standard input", values: "path" }],
  examples: [
    "weft apply -f virtual-service-reviews-test-v2.yaml",
    "kubectl get vs reviews -o yaml | weft apply -f -",
  ],
  async run(input) {
    const answer = await AdminClient.controlPlane(input.stateDir).put<{ applied?: readonly string[] }>(
      "/objects",
      await read(input),
    );
    input.out.result(answer, () => [["APPLIED"], ...(answer.applied ?? []).map((name) => [name])]);
    return EXIT.ok;
  },
};

export const remove: Command = {
  name: "delete",
  summary: "Take back an object that `weft apply` brought",
  args: [
    { name: "<kind>", help: "VirtualService, DestinationRule, ...", values: "kind" },
    { name: "<name>", help: "the object's name", values: "object" },
  ],
  options: [
    { flags: "-n, --namespace <name>", help: "its namespace", default: "default", values: "namespace" },
  ],
  examples: ["weft delete VirtualService reviews"],
  async run({ args, options, out, stateDir }) {
    const kind = kindOf(String(args[0]));
    const path = [kind, options["namespace"], args[1]]
      .map((part) => encodeURIComponent(String(part)))
      .join("/");
    const answer = await AdminClient.controlPlane(stateDir).delete(`/objects/${path}`);
    out.result(answer, () => [["DELETED"], [`${kind} ${String(args[1])}`]]);
    return EXIT.ok;
  },
};

async function read({ options, cwd, readStdin }: Input): Promise<string> {
  const file = options["filename"];
  if (typeof file !== "string")
    throw new UserError("say what to apply: -f FILE, or -f - for standard input", EXIT.usage);
  if (file === "-") return readStdin();
  try {
    return await readFile(resolve(cwd, file), "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    throw new UserError(code === "ENOENT" ? `${file}: no such file` : `${file}: cannot be read (${code})`);
  }
}
