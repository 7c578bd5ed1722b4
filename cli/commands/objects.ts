import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { AppliedAnswer, ObjectsAnswer } from "#control-plane/admin/contract.ts";
import { load, sayIssue } from "#policies/index.ts";
import { AdminClient } from "../admin-client.ts";
import type { Command, Input } from "../command.ts";
import { EXIT, UserError } from "../errors.ts";
import { kindOf } from "../kind-names.ts";
import { yamlFiles } from "../yaml-files.ts";

const FILES = {
  flags: "-f, --filename <file...>",
  help: "YAML files or folders, or - for standard input",
  values: "path",
} as const;

export const apply: Command = {
  name: "apply",
  summary: "Apply YAML to a running mesh: checked against everything else first, kept until `weft delete`",
  args: [],
  options: [FILES],
  examples: [
    "weft apply -f virtual-service-reviews-test-v2.yaml",
    "weft apply -f policies/ -f more.yaml",
    "kubectl get vs reviews -o yaml | weft apply -f -",
  ],
  async run(input) {
    const { out, stateDir } = input;
    const body = await readAll(input, "apply");
    const admin = AdminClient.controlPlane(stateDir);
    const answer = await admin.put<AppliedAnswer>("/objects", body.text).catch((error: Error) => {
      throw error instanceof UserError ? new UserError(body.named(error.message)) : error;
    });
    out.result(answer, () => [["APPLIED"], ...answer.applied.map((name) => [name])]);
    for (const warning of await warningsOf(admin, answer)) out.warn(`warning: ${warning}`);
    return EXIT.ok;
  },
};

/** What the control plane has to say of the objects, now that they are there. */
async function warningsOf(admin: AdminClient, { applied }: AppliedAnswer): Promise<string[]> {
  const { objects } = await admin.get<ObjectsAnswer>("/objects");
  const names = new Set(applied);
  return objects
    .filter((o) =>
      names.has(o.namespace === "" ? `${o.kind} ${o.name}` : `${o.kind} ${o.namespace}/${o.name}`),
    )
    .flatMap(({ warnings }) => warnings);
}

export const remove: Command = {
  name: "delete",
  summary: "Take back an object that `weft apply` brought",
  args: [
    { name: "[kind]", help: "VirtualService, DestinationRule, ...", values: "kind" },
    { name: "[name]", help: "the object's name", values: "object" },
  ],
  options: [
    FILES,
    { flags: "-n, --namespace <name>", help: "its namespace", default: "default", values: "namespace" },
  ],
  examples: ["weft delete VirtualService reviews", "weft delete -f virtual-service-reviews-test-v2.yaml"],
  async run(input) {
    const { args, options, out, stateDir } = input;
    const [kind, name] = args;
    const named = typeof kind === "string" && typeof name === "string";
    if (named === (options["filename"] !== undefined))
      throw new UserError("say what to delete: KIND NAME, or -f FILE", EXIT.usage);
    const wanted = named
      ? [{ kind: kindOf(kind), namespace: String(options["namespace"]), name }]
      : (await readAll(input, "delete")).objects;
    const admin = AdminClient.controlPlane(stateDir);
    const deleted: string[] = [];
    for (const object of wanted) {
      const path = [object.kind, object.namespace, object.name].map(encodeURIComponent).join("/");
      const answer = await admin.delete<{ deleted: string }>(`/objects/${path}`);
      deleted.push(answer.deleted);
    }
    out.result({ deleted }, () => [["DELETED"], ...deleted.map((one) => [one])]);
    return EXIT.ok;
  },
};

interface Body {
  /** All files as one stream of YAML documents. */
  readonly text: string;
  readonly objects: readonly { readonly kind: string; readonly namespace: string; readonly name: string }[];
  /** The control plane's "request:LINE" as the file and line that the person knows. */
  named(message: string): string;
}

const SEPARATOR = "\n---\n";

/** Reads every file and checks each by itself, so that the first errors name files as they were written. */
async function readAll({ options, cwd, readStdin }: Input, verb: string): Promise<Body> {
  const given = options["filename"];
  if (!Array.isArray(given) || given.length === 0)
    throw new UserError(`say what to ${verb}: -f FILE, or -f - for standard input`, EXIT.usage);
  const files = given.flatMap((path: string) => (path === "-" ? ["-"] : yamlFiles(path, cwd)));
  const parts: { file: string; text: string; line: number }[] = [];
  let line = 0;
  for (const file of files) {
    const text = file === "-" ? await readStdin() : read(file, cwd);
    parts.push({ file: file === "-" ? "(standard input)" : file, text, line });
    line += text.split("\n").length + 1;
  }
  const results = parts.map(({ file, text }) => load(text, file));
  const errors = results.flatMap(({ issues }) => issues).filter(({ level }) => level === "error");
  if (errors.length > 0) throw new UserError(errors.map(sayIssue).join("\n"));
  return {
    text: parts.map(({ text }) => text).join(SEPARATOR),
    objects: results
      .flatMap(({ objects }) => objects)
      .map(({ source, namespace, name }) => ({ kind: source.kind, namespace: namespace || "-", name })),
    named: (message) =>
      message.replace(/\brequest:(\d+)/g, (_, at: string) => {
        const part = parts.findLast((one) => one.line < Number(at)) ?? parts[0]!;
        return `${part.file}:${Number(at) - part.line}`;
      }),
  };
}

function read(file: string, cwd: string): string {
  try {
    return readFileSync(resolve(cwd, file), "utf8");
  } catch (error) {
    throw new UserError(`${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
}
