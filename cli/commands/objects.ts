import { readFileSync } from "node:fs";
import { resolve, sep } from "node:path";
import type { AppliedAnswer, ObjectsAnswer } from "#control-plane/admin/contract.ts";
import { appliedDir } from "#control-plane/sources/applied.ts";
import { load, sayIssue } from "#policies/index.ts";
import { AdminClient } from "../admin-client.ts";
import type { Command, Input } from "../command.ts";
import { EXIT, UserError } from "../errors.ts";
import { KIND_NAMES, kindOf } from "../kind-names.ts";
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
  summary: "Take back what `weft apply` brought",
  args: [
    { name: "[kind]", help: "VirtualService, DestinationRule, ...", values: "kind" },
    { name: "[name]", help: "the object's name", values: "object" },
  ],
  options: [
    FILES,
    { flags: "--all", help: "everything that was applied" },
    { flags: "-n, --namespace <name>", help: "its namespace", default: "default", values: "namespace" },
  ],
  examples: [
    "weft delete VirtualService reviews",
    "weft delete -f virtual-service-reviews-test-v2.yaml",
    "weft delete --all",
  ],
  async run(input) {
    const { args, options, out, stateDir } = input;
    const [kind, name] = args;
    const named = typeof kind === "string" && typeof name === "string";
    const all = options["all"] === true;
    if (Number(named) + Number(options["filename"] !== undefined) + Number(all) !== 1)
      throw new UserError("say what to delete: KIND NAME, -f FILE, or --all", EXIT.usage);
    const admin = AdminClient.controlPlane(stateDir);
    const wanted = named
      ? [{ kind: knownKind(kind), namespace: String(options["namespace"]), name }]
      : all
        ? await appliedObjects(admin, stateDir)
        : (await readAll(input, "delete")).objects;
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

function knownKind(typed: string): string {
  const kind = kindOf(typed);
  if (!KIND_NAMES.includes(kind))
    throw new UserError(`no such kind: ${typed}; known are ${KIND_NAMES.join(", ")}`, EXIT.usage);
  return kind;
}

async function appliedObjects(admin: AdminClient, stateDir: string): Promise<Body["objects"]> {
  const { objects } = await admin.get<ObjectsAnswer>("/objects");
  return objects
    .filter(({ source }) => source.file.startsWith(appliedDir(stateDir) + sep))
    .map(({ kind, namespace, name }) => ({ kind, namespace: namespace || "-", name }));
}

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
