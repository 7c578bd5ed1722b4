/**
 * What only the platform knows to be wrong with objects: programs, files and addresses of this machine, and what objects
 * say of each other's data. Fields themselves are judged by whoever read the file.
 */
import { statSync } from "node:fs";
import { dirname, isAbsolute, resolve } from "node:path";
import { noCommand, readDownward } from "./container-spec.ts";
import { FieldError } from "./fields.ts";
import { type Json, list, PlatformError, type PlatformObject, record, strings } from "./object.ts";
import { isBelow } from "./volumes/below.ts";
import { dataOf } from "./volumes/data.ts";
import { WORKLOAD_KINDS } from "./workload-kinds.ts";

export type FieldPath = readonly (string | number)[];

export interface PlatformIssue {
  readonly level: "error" | "warning";
  /** missing-command, missing-program, missing-folder, missing-reference, conflicting-port, foreign-path, not-carried-out, invalid-value. */
  readonly code: string;
  readonly message: string;
  readonly file: string;
  readonly line: number;
  /** "Kind namespace/name" */
  readonly object: string;
  /** "spec.containers[0].command", "" for the whole object. */
  readonly path: string;
}

export interface CheckOptions {
  /** In which mode the objects are to run, where that is known already. */
  readonly mode?: "explicit" | "transparent";
}

type Say = (level: PlatformIssue["level"], code: string, path: FieldPath, message: string) => void;

/** Where the pod template of a kind is. */
const TEMPLATE: Readonly<Record<string, FieldPath>> = {
  Pod: [],
  Deployment: ["spec", "template"],
  ReplicaSet: ["spec", "template"],
  StatefulSet: ["spec", "template"],
  DaemonSet: ["spec", "template"],
  Job: ["spec", "template"],
  CronJob: ["spec", "jobTemplate", "spec", "template"],
};

/** All that is wrong with all objects at once. Never throws. An object with a `line` has each issue at its own line. */
export function checkObjects(
  objects: readonly PlatformObject[],
  options: CheckOptions = {},
): PlatformIssue[] {
  const issues: PlatformIssue[] = [];
  for (const object of objects) {
    const kind = WORKLOAD_KINDS[object.kind];
    if (kind === undefined) continue;
    const base = TEMPLATE[object.kind];
    const say: Say = (level, code, path, message) =>
      issues.push({
        level,
        code,
        message,
        file: object.source?.file ?? "",
        line: object.line?.(path) ?? object.source?.line ?? 1,
        object: `${object.kind} ${object.metadata.namespace ?? "default"}/${object.metadata.name}`,
        path: showPath(path),
      });
    const before = issues.length;
    if (base !== undefined) checkTemplate(new Template(object, base, objects, options, say));
    if (issues.slice(before).some(({ level }) => level === "error")) continue;
    try {
      kind.check(object);
    } catch (error) {
      if (!(error instanceof PlatformError)) throw error;
      if (error instanceof FieldError) say("error", "invalid-value", error.path, error.reason);
      else say("error", "invalid-value", base ?? [], withoutPlace(error.message));
    }
  }
  return issues;
}

/** What `place` put before it is said otherwise here. */
function withoutPlace(message: string): string {
  return /^\S+:\d+: \S+ \S+: (.*)$/s.exec(message)?.[1] ?? message;
}

function showPath(path: FieldPath): string {
  return path
    .map((part, i) => (typeof part === "number" ? `[${part}]` : i === 0 ? part : `.${part}`))
    .join("");
}

function at(value: unknown, path: FieldPath): unknown {
  return path.reduce<unknown>((v, key) => (v as Record<string | number, unknown> | undefined)?.[key], value);
}

class Template {
  readonly object: PlatformObject;
  readonly objects: readonly PlatformObject[];
  readonly options: CheckOptions;
  readonly say: Say;
  /** Of the pod's spec. */
  readonly path: FieldPath;
  readonly spec: Json;
  readonly metadata: Json;
  /** Commands are resolved from here. */
  readonly folder: string;

  constructor(
    object: PlatformObject,
    base: FieldPath,
    objects: readonly PlatformObject[],
    options: CheckOptions,
    say: Say,
  ) {
    this.object = object;
    this.objects = objects;
    this.options = options;
    this.say = say;
    this.path = [...base, "spec"];
    this.spec = record(at(object, this.path));
    this.metadata = record(base.length === 0 ? object.metadata : at(object, [...base, "metadata"]));
    this.folder = dirname(resolve(object.source?.file ?? "x"));
  }
  get namespace(): string {
    return this.object.metadata.namespace ?? "default";
  }
  get isGateway(): boolean {
    return record(this.metadata["annotations"])["inject.istio.io/templates"] === "gateway";
  }
}

function checkTemplate(t: Template): void {
  const ports = new Map<string, string>();
  for (const field of ["initContainers", "containers"] as const)
    for (const [i, container] of list(t.spec[field]).entries()) {
      if (t.isGateway && container["name"] === "istio-proxy") continue;
      const path = [...t.path, field, i];
      checkProgram(t, container, path);
      checkEnv(t, container, path);
      if (field === "containers") checkPorts(t, container, path, ports);
    }
  for (const [i, volume] of list(t.spec["volumes"]).entries())
    checkVolume(t, volume, [...t.path, "volumes", i]);
  if (t.options.mode === "explicit" && list(t.spec["hostAliases"]).length > 0)
    t.say(
      "warning",
      "not-carried-out",
      [...t.path, "hostAliases"],
      "pods in explicit mode see this machine's own /etc/hosts: use transparent mode, or the addresses themselves",
    );
}

function checkProgram(t: Template, container: Json, path: FieldPath): void {
  const command = strings(container["command"]);
  if (command.length === 0) {
    t.say(
      "error",
      "missing-command",
      path,
      `container ${String(container["name"])}: ${noCommand(t.object, container)}`,
    );
    return;
  }
  const [program = ""] = command;
  const cwd = resolve(t.folder, String(container["workingDir"] || "."));
  const mounts = list(container["volumeMounts"]).map((m) => String(m["mountPath"]));
  const isMounted = (file: string): boolean => mounts.some((m) => file === m || file.startsWith(`${m}/`));
  if (container["workingDir"] !== undefined && !isFolder(cwd) && !isMounted(cwd))
    t.say(
      "error",
      "missing-folder",
      [...path, "workingDir"],
      `${cwd} is no folder of this machine: on a local mesh workingDir is one, relative to ${t.folder}`,
    );
  // Only what is named by a path can be looked at: a name alone is searched on the pod's PATH, which env may change.
  if (!program.includes("/") || program.includes("$(")) return;
  const file = isAbsolute(program) ? program : resolve(cwd, program);
  if (statSync(file, { throwIfNoEntry: false }) === undefined && !isMounted(file))
    t.say(
      "error",
      "missing-program",
      [...path, "command", 0],
      `${file} does not exist on this machine: programs of a local mesh are this machine's own, relative to ${t.folder}`,
    );
}

function checkEnv(t: Template, container: Json, path: FieldPath): void {
  for (const [i, entry] of list(container["envFrom"]).entries())
    for (const [field, kind] of [
      ["configMapRef", "ConfigMap"],
      ["secretRef", "Secret"],
    ] as const)
      if (entry[field] !== undefined)
        checkData(t, kind, record(entry[field]), undefined, [...path, "envFrom", i, field]);
  for (const [i, entry] of list(container["env"]).entries()) {
    const from = record(entry["valueFrom"]);
    const at_ = [...path, "env", i, "valueFrom"];
    for (const [field, kind] of [
      ["configMapKeyRef", "ConfigMap"],
      ["secretKeyRef", "Secret"],
    ] as const)
      if (from[field] !== undefined)
        checkData(t, kind, record(from[field]), String(record(from[field])["key"]), [...at_, field]);
    checkResource(t, from, at_);
  }
}

function checkResource(t: Template, from: Json, path: FieldPath): void {
  const read = readDownward(from, "");
  if (read === undefined || !("resource" in read) || read.container === "") return;
  const names = [...list(t.spec["containers"]), ...list(t.spec["initContainers"])].map((c) =>
    String(c["name"]),
  );
  if (!names.includes(read.container))
    t.say(
      "error",
      "unknown-container",
      [...path, "resourceFieldRef", "containerName"],
      `the pod has no container "${read.container}" (known: ${names.join(", ")})`,
    );
}

/** A pod waits for what it names, as on Kubernetes; a name that is only misspelt should be seen at once. */
function checkData(
  t: Template,
  kind: "ConfigMap" | "Secret",
  ref: Json,
  key: string | undefined,
  path: FieldPath,
): void {
  if (ref["optional"] === true) return;
  const name = String(ref["secretName"] ?? ref["name"]);
  const data = dataOf(t.objects, kind, t.namespace, name);
  if (data === undefined)
    t.say(
      "warning",
      "missing-reference",
      path,
      `no ${kind} ${t.namespace}/${name}: the pod waits until there is one`,
    );
  else if (key !== undefined && !data.has(key))
    t.say(
      "warning",
      "missing-reference",
      [...path, "key"],
      `${kind} ${t.namespace}/${name} has no key "${key}" (keys: ${[...data.keys()].join(", ") || "none"}): the pod waits until it has`,
    );
}

/** All containers of a pod share its address. */
function checkPorts(t: Template, container: Json, path: FieldPath, taken: Map<string, string>): void {
  for (const [i, port] of list(container["ports"]).entries()) {
    const key = `${String(port["protocol"] ?? "TCP")} ${String(port["containerPort"])}`;
    const other = taken.get(key);
    const name = String(container["name"]);
    if (other !== undefined)
      t.say(
        "warning",
        "conflicting-port",
        [...path, "ports", i, "containerPort"],
        `container ${other} has port ${String(port["containerPort"])} already: containers of a pod share one address`,
      );
    taken.set(key, name);
  }
}

function checkVolume(t: Template, volume: Json, path: FieldPath): void {
  for (const [field, kind] of [
    ["configMap", "ConfigMap"],
    ["secret", "Secret"],
  ] as const)
    if (volume[field] !== undefined) checkItems(t, kind, record(volume[field]), [...path, field]);
  for (const [i, source] of list(record(volume["projected"])["sources"]).entries())
    for (const [field, kind] of [
      ["configMap", "ConfigMap"],
      ["secret", "Secret"],
    ] as const)
      if (source[field] !== undefined)
        checkItems(t, kind, record(source[field]), [...path, "projected", "sources", i, field]);
  if (volume["hostPath"] !== undefined)
    checkHostPath(t, record(volume["hostPath"]), [...path, "hostPath", "path"]);
  const claim = record(volume["persistentVolumeClaim"])["claimName"];
  if (claim !== undefined && !hasClaim(t, String(claim)))
    t.say(
      "warning",
      "missing-reference",
      [...path, "persistentVolumeClaim", "claimName"],
      `no PersistentVolumeClaim ${t.namespace}/${String(claim)} is in the files: a folder of that name is made all the same`,
    );
}

function hasClaim(t: Template, name: string): boolean {
  return t.objects.some(
    (o) =>
      o.kind === "PersistentVolumeClaim" &&
      o.metadata.name === name &&
      (o.metadata.namespace ?? "default") === t.namespace,
  );
}

function checkItems(t: Template, kind: "ConfigMap" | "Secret", ref: Json, path: FieldPath): void {
  const items = list(ref["items"]);
  if (items.length === 0) checkData(t, kind, ref, undefined, path);
  for (const [i, item] of items.entries())
    checkData(t, kind, ref, String(item["key"]), [...path, "items", i]);
}

function checkHostPath(t: Template, raw: Json, path: FieldPath): void {
  const wanted = resolve(t.folder, String(raw["path"]));
  if (!isBelow(wanted, t.folder)) {
    t.say(
      "error",
      "foreign-path",
      path,
      `${wanted} is not below ${t.folder}: a local mesh shows pods only files beside their manifest`,
    );
    return;
  }
  const type = String(raw["type"] ?? "");
  if (!type.endsWith("OrCreate") && statSync(wanted, { throwIfNoEntry: false }) === undefined)
    t.say("warning", "missing-reference", path, `${wanted} does not exist: the pod waits until it does`);
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
