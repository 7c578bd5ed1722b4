import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type {
  AppliedAnswer,
  DeletedAnswer,
  NamedObject,
  NamedText,
  ObjectsAnswer,
} from "#control-plane/admin/contract.ts";
import { decodeText, type Issue, KINDS, type Loaded, load, sayIssue } from "#policies/index.ts";
import { AdminClient } from "../admin-client.ts";
import { deleteOffline, isServed } from "../applied.ts";
import { isError, issuesOfListed, platformIssues } from "../check.ts";
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
    const { texts, objects, issues } = await readAll(input, "apply");
    refuse([...issues, ...platformIssues(objects)]);
    const admin = AdminClient.controlPlane(stateDir);
    const answer = await admin.put<AppliedAnswer>("/objects", JSON.stringify({ files: texts }));
    out.result(answer, () => [["APPLIED"], ...answer.applied.map((name) => [name])]);
    const warnings = issues.filter((issue) => !isError(issue)).map(sayIssue);
    for (const warning of new Set([...warnings, ...(await warningsOf(admin, answer, stateDir))]))
      out.warn(`warning: ${warning}`);
    const { refused = [] } = answer;
    if (refused.length > 0)
      throw new UserError(`it is applied, but not every proxy takes it:\n${refused.join("\n")}`);
    return EXIT.ok;
  },
};

function refuse(issues: readonly Issue[]): void {
  const errors = issues.filter(isError).map(sayIssue);
  if (errors.length > 0) throw new UserError(errors.join("\n"));
}

/** What the control plane and the platform have to say of the objects, now that they are there. */
async function warningsOf(
  admin: AdminClient,
  { applied }: AppliedAnswer,
  stateDir: string,
): Promise<string[]> {
  const { objects } = await admin.get<ObjectsAnswer>("/objects");
  const names = new Set(applied);
  return [
    ...objects
      .filter((o) =>
        names.has(o.namespace === "" ? `${o.kind} ${o.name}` : `${o.kind} ${o.namespace}/${o.name}`),
      )
      .flatMap(({ warnings }) => warnings),
    ...issuesOfListed(objects, stateDir)
      .filter((issue) => names.has(issue.object) && !isError(issue))
      .map(sayIssue),
  ];
}

export const remove: Command = {
  name: "delete",
  summary: "Take back what `weft apply` brought, with or without a running mesh",
  args: [
    { name: "[kind]", help: "VirtualService, DestinationRule, ...", values: "kind" },
    { name: "[name...]", help: "names of objects", values: "object" },
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
    const [kind, names] = args;
    const named = typeof kind === "string" && Array.isArray(names) && names.length > 0;
    const all = options["all"] === true;
    if (Number(named) + Number(options["filename"] !== undefined) + Number(all) !== 1)
      throw new UserError("say what to delete: KIND NAME, -f FILE, or --all", EXIT.usage);
    const wanted = all
      ? "all"
      : named
        ? names.map((name) => objectNamed(knownKind(kind), String(options["namespace"]), String(name)))
        : await objectsIn(input);
    const answer = (await isServed(stateDir))
      ? await AdminClient.controlPlane(stateDir).post<DeletedAnswer>(
          "/objects/delete",
          wanted === "all" ? { all: true } : { objects: wanted },
        )
      : await deleteOffline(stateDir, wanted);
    const { deleted, errors } = answer;
    if (deleted.length > 0 || errors.length === 0)
      out.result(answer, () => [["DELETED"], ...deleted.map((one) => [one])]);
    if (errors.length > 0) throw new UserError(errors.join("\n"));
    return EXIT.ok;
  },
};

function knownKind(typed: string): string {
  const kind = kindOf(typed);
  if (!KIND_NAMES.includes(kind))
    throw new UserError(`no such kind: ${typed}; known are ${KIND_NAMES.join(", ")}`, EXIT.usage);
  return kind;
}

function objectNamed(kind: string, namespace: string, name: string): NamedObject {
  const scoped = Object.entries(KINDS).some(([key, entry]) => key.endsWith(`/${kind}`) && entry.namespaced);
  return { kind, namespace: scoped ? namespace : "", name };
}

async function objectsIn(input: Input): Promise<NamedObject[]> {
  const { objects, issues } = await readAll(input, "delete");
  refuse(issues);
  return objects.map(({ source: { kind, group }, namespace, name }) => ({
    kind: isAmbiguous(kind) ? `${kind}.${group}` : kind,
    namespace,
    name,
  }));
}

/** Istio and the Gateway API have a Gateway each. */
const isAmbiguous = (kind: string): boolean => kind === "Gateway";

interface Body {
  readonly texts: readonly NamedText[];
  readonly objects: readonly Loaded[];
  readonly issues: readonly Issue[];
}

/** Every file by itself, so that errors name files and lines as they were written. */
async function readAll({ options, cwd, readStdin }: Input, verb: string): Promise<Body> {
  const given = options["filename"];
  if (!Array.isArray(given) || given.length === 0)
    throw new UserError(`say what to ${verb}: -f FILE, or -f - for standard input`, EXIT.usage);
  const files = given.flatMap((path: string) =>
    path === "-"
      ? [{ file: path, named: true }]
      : yamlFiles(path, cwd).map((file) => ({ file, named: file === path })),
  );
  const texts: NamedText[] = [];
  const issues: Issue[] = [];
  const objects: Loaded[] = [];
  for (const { file: shown, named } of files) {
    const isStdin = shown === "-";
    // What is kept of it must be found from anywhere.
    const file = resolve(cwd, isStdin ? "(standard input)" : shown);
    const bytes = isStdin ? Buffer.from(await readStdin()) : read(shown, cwd);
    const found = load(bytes, file, !named);
    const decoded = decodeText(bytes);
    const isForeign = found.issues.some(({ code }) => code === "foreign-file");
    if ("text" in decoded && !isForeign) texts.push({ file, text: decoded.text });
    issues.push(...found.issues);
    objects.push(...found.objects);
  }
  return { texts, objects, issues };
}

function read(file: string, cwd: string): Buffer {
  try {
    return readFileSync(resolve(cwd, file));
  } catch (error) {
    throw new UserError(`${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
}
