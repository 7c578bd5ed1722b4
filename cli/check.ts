/** What `up`, `apply`, `validate` and `status` say of objects: one set of checks, in one place. */
import { join } from "node:path";
import type { ListedObject } from "#control-plane/admin/contract.ts";
import { readCopies } from "#control-plane/sources/applied.ts";
import { checkObjects } from "#local/index.ts";
import { buildWorld, type Issue, type Loaded, sayIssue, validate } from "#policies/index.ts";
import { toPlatformObject } from "./platform-objects.ts";
import { loadFile } from "./yaml-files.ts";

/** What the objects say of each other. Pods are not in files, and policies alone name services that stand elsewhere. */
export function together(objects: readonly Loaded[]): Issue[] {
  const complete = objects.some(({ key }) => key === "/Service");
  const unknowable = complete ? ["selects-nothing"] : ["selects-nothing", "unknown-host"];
  return [
    ...validate(buildWorld(objects)).filter(({ code }) => !unknowable.includes(code)),
    ...platformIssues(objects),
  ];
}

/** What only the machine knows that the pods are to run on. */
export function platformIssues(objects: readonly Loaded[]): Issue[] {
  const applied = new Set(objects.filter(({ origin }) => origin.kind === "applied").map(labelOf));
  return checkObjects(objects.map(toPlatformObject)).map((issue) =>
    issue.level === "error" && applied.has(issue.object)
      ? { ...issue, message: `${issue.message} (it was applied: \`${takeBack(issue.object)}\`)` }
      : issue,
  );
}

/** The same of a running mesh: what its objects say is read where their authors wrote it, for the lines of fields. */
export function issuesOfListed(listed: readonly ListedObject[], stateDir: string): Issue[] {
  const id = (kind: string, namespace: string, name: string, file: string): string =>
    JSON.stringify([kind, namespace, name, file]);
  const wanted = new Set(listed.map((o) => id(o.kind, o.namespace, o.name, o.source.file)));
  const files = new Set(
    listed.filter(({ source }) => source.applied === null).map(({ source }) => source.file),
  );
  files.delete(join(stateDir, "platform.json"));
  const objects = [...[...files].flatMap(objectsIn), ...readCopies(stateDir).objects];
  return platformIssues(
    objects.filter(({ source: s }) => wanted.has(id(s.kind, s.namespace, s.name, s.file))),
  );
}

function objectsIn(file: string): readonly Loaded[] {
  try {
    return loadFile(file, "/").objects;
  } catch {
    return []; // gone meanwhile: it is being saved, and will be looked at when it is there
  }
}

const labelOf = ({ source: { kind, namespace, name } }: Loaded): string =>
  namespace === "" ? `${kind} ${name}` : `${kind} ${namespace}/${name}`;

/** "Deployment shop/web" -> the command that takes it back. */
function takeBack(object: string): string {
  const [kind = "", name = ""] = object.split(" ");
  const [namespace, own] = name.includes("/") ? name.split("/") : ["default", name];
  return `weft delete ${kind} ${own}${namespace === "default" ? "" : ` -n ${namespace}`}`;
}

export const isError = ({ level }: Issue): boolean => level === "error";

/** One line each, as in the output of `up` and `status`. */
export const lineOf = (issue: Issue): string => `${isError(issue) ? "" : "warning: "}${sayIssue(issue)}`;
