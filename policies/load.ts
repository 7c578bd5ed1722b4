import type { SourceRef } from "#ir/source.ts";
import { checkDryRun } from "./annotations.ts";
import { lineOfCopy, readCopy } from "./applied-copy.ts";
import { KINDS, type KindKey, type SpecOf, WITHOUT_SPEC } from "./kinds.ts";
import { NOT_CARRIED_OUT } from "./pod/fields.ts";
import { OBJECT_META } from "./pod/metadata.ts";
import { type PodStatus, podStatus } from "./pod/spec.ts";
import { check, type Issue, isMap, object, type Path, required, showPath, str } from "./schema.ts";
import { decodeText, mentionsObjects } from "./text.ts";
import { readYaml, YamlError } from "./yaml.ts";

/** Where an object comes from, beside the file and line that its author knows it by. */
export type Origin =
  | { readonly kind: "file" }
  /** `weft apply` brought it, at `appliedAt` (ISO text, "" = unknown), and keeps it in the file `copy`. */
  | { readonly kind: "applied"; readonly appliedAt: string; readonly copy: string };
const FROM_FILE: Origin = { kind: "file" };

/** One validated object. `line(path)` finds the line of a field; `raw` is the document as parsed. */
export interface Loaded<K extends KindKey = KindKey> {
  readonly key: K;
  readonly source: SourceRef;
  readonly origin: Origin;
  readonly name: string;
  /** "" for cluster-scoped kinds. */
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** ISO text; "" = unknown, which counts as oldest. */
  readonly created: string;
  readonly spec: SpecOf<K>;
  /** Pods only. */
  readonly status: PodStatus | null;
  readonly line: (path: Path) => number;
  readonly raw: Readonly<Record<string, unknown>>;
}

export interface LoadResult {
  readonly objects: readonly Loaded[];
  readonly issues: readonly Issue[];
}

// A policy file is written by people: above this it is a mistake or an attack on the parser.
export const MAX_BYTES = 4 * 1024 * 1024;
const MAX_DOCUMENTS = 20_000;
const MAX_ISSUES = 50;

/** RFC 1123 subdomain; an IPAddress may have colons. */
const objectName = check(str, (name) =>
  /^[a-z0-9]([-a-z0-9.:]{0,251}[a-z0-9])?$/.test(name)
    ? null
    : 'must be a DNS name of lower case letters, digits, "-" and ".", at most 253 characters',
);
const metadataSchema = object({ ...OBJECT_META, name: required(objectName), namespace: objectName });

/**
 * Parses YAML (or JSON) text into objects; never throws. An object with an error is left out, the others stand.
 * `maybe`: the file may be anybody's, as package.json in a folder of policies: what is no object is left alone.
 */
export function load(text: string | Uint8Array, file: string, maybe = false): LoadResult {
  return new FileLoader(file).load(text, maybe);
}

/** `maybe`: as for load; `head` is how it begins, which tells whether it is meant for the mesh at all. */
export function tooLarge(file: string, head = "", maybe = false): LoadResult {
  return !maybe || mentionsObjects(head)
    ? failed(
        file,
        "too-large",
        `the file is larger than ${MAX_BYTES} bytes: split it, or take it out of the policies`,
      )
    : leftAlone(file);
}

function failed(file: string, code: string, message: string): LoadResult {
  return {
    objects: [],
    issues: [{ level: "error", code, message, file, line: 1, object: "", path: "" }],
  };
}

/** What is nobody's object (package.json, values.yaml): told, and no reason to refuse the rest. */
const LEFT_ALONE = "no Kubernetes object (neither apiVersion nor kind): left alone";
function leftAlone(file: string): LoadResult {
  return {
    objects: [],
    issues: [
      { level: "warning", code: "foreign-file", message: LEFT_ALONE, file, line: 1, object: "", path: "" },
    ],
  };
}

/** Loads one file again and again: a document that did not change gives the same objects as before. */
export class FileLoader {
  readonly #file: string;
  #parts: ReadonlyMap<string, LoadResult> = new Map();

  constructor(file: string) {
    this.#file = file;
  }

  load(given: string | Uint8Array, maybe = false): LoadResult {
    const file = this.#file;
    if ((typeof given === "string" ? Buffer.byteLength(given) : given.length) > MAX_BYTES)
      return tooLarge(file);
    const decoded = decodeText(typeof given === "string" ? Buffer.from(given) : given);
    if ("problem" in decoded) {
      const letters = Buffer.from(given as Uint8Array)
        .toString("latin1")
        .replaceAll("\0", "");
      return !maybe || mentionsObjects(letters) ? failed(file, "encoding", decoded.problem) : leftAlone(file);
    }
    const { text } = decoded;
    const documents = documentsOf(text);
    if (documents === null)
      return failed(file, "too-many", `more than ${MAX_DOCUMENTS} documents in one file: split it`);
    return this.#gather(documents, maybe, ({ text, line }) => parse(text, line, file, maybe));
  }

  /** What `weft apply` keeps of one object; its author's file and lines stand for it. */
  loadCopy(text: string): LoadResult {
    const copy = readCopy(text);
    const origin: Origin = { kind: "applied", appliedAt: copy?.appliedAt ?? "", copy: this.#file };
    if (copy === null) {
      const { objects, issues } = this.load(text);
      return { objects: objects.map((o) => ({ ...o, origin })), issues };
    }
    const document = { text, line: copy.line };
    return this.#gather([document], false, () => {
      const found = new Collected(copy.file, false, origin);
      found.add(copy.object, [], (path) => lineOfCopy(copy, path));
      return found;
    });
  }

  /** A List as machines write it: plain JSON, of any size; nobody will look for its lines. */
  loadList(text: string): LoadResult {
    let items: unknown;
    try {
      items = (JSON.parse(text) as { items?: unknown } | null)?.items;
    } catch {}
    if (!Array.isArray(items)) return this.load(text);
    const documents = items.map((item) => ({ text: JSON.stringify(item), line: 1, item: item as unknown }));
    return this.#gather(documents, false, ({ item }) => {
      const found = new Collected(this.#file);
      found.add(item, [], () => 1);
      return found;
    });
  }

  #gather<D extends { text: string; line: number }>(
    documents: readonly D[],
    maybe: boolean,
    read: (document: D) => LoadResult,
  ): LoadResult {
    const parts = new Map<string, LoadResult>();
    const results = documents.map((document) => {
      const key = `${document.line}:${maybe}:${document.text}`;
      const result = this.#parts.get(key) ?? read(document);
      parts.set(key, result);
      return result;
    });
    this.#parts = parts;
    const objects = results.flatMap((r) => r.objects);
    const issues = results.flatMap((r) => r.issues);
    const foreign = issues.find(({ code }) => code === "foreign-file");
    return {
      objects,
      issues: bounded(issues.filter((i) => i.code !== "foreign-file" || i === foreign)),
    };
  }
}

/** At most MAX_ISSUES, and no warning takes the place of an error. */
function bounded(issues: readonly Issue[]): readonly Issue[] {
  if (issues.length <= MAX_ISSUES) return issues;
  const errors = issues.filter(({ level }) => level === "error");
  return [...errors, ...issues.filter(({ level }) => level === "warning")].slice(0, MAX_ISSUES);
}

/**
 * At column 0 "---" begins a document wherever it stands (YAML 1.2, 9.1.2); directives belong to what follows them.
 * Null: too many.
 */
function documentsOf(text: string): { text: string; line: number }[] | null {
  const starts: number[] = [];
  if (!/^%/m.test(text))
    for (const { index } of text.matchAll(/^---(?=\s|$)/gm))
      if (starts.push(index) > MAX_DOCUMENTS) return null;
  const documents: { text: string; line: number }[] = [];
  let line = 1;
  let from = 0;
  for (const to of [...starts, text.length]) {
    const part = text.slice(from, to);
    if (part.trim() !== "") documents.push({ text: part, line });
    for (let at = part.indexOf("\n"); at >= 0; at = part.indexOf("\n", at + 1)) line++;
    from = to;
  }
  return documents;
}

/** Helm's and other templates before they are rendered. */
const TEMPLATE = /\{\{-?\s*[.$\w"(/]/;

function parse(text: string, firstLine: number, file: string, maybe: boolean): LoadResult {
  const found = new Collected(file, maybe);
  const lineIn = (line: number): number => firstLine - 1 + line;
  try {
    for (const { value, line } of readYaml(text)) {
      if (value === null || value === undefined) continue;
      const lineOf = (path: Path): number => lineIn(line(path));
      if (
        isMap(value) &&
        typeof value["kind"] === "string" &&
        value["kind"].endsWith("List") &&
        Array.isArray(value["items"])
      )
        value["items"].forEach((item, i) => void found.add(item, ["items", i], lineOf));
      else found.add(value, [], lineOf);
    }
  } catch (error) {
    const { message } = error as Error;
    const line = lineIn(error instanceof YamlError ? error.line : 1);
    if (!maybe || mentionsObjects(text)) found.fail(line, "yaml", message);
    else found.fail(line, "foreign-file", LEFT_ALONE, "", "warning");
  }
  const template = TEMPLATE.exec(text);
  if (template === null || !found.issues.some(({ level }) => level === "error")) return found;
  const untold = new Collected(file);
  const at = lineIn(text.slice(0, template.index).split("\n").length);
  untold.fail(at, "template", "an unrendered template ({{ ... }}): render it first, as with `helm template`");
  return untold;
}

/** Groups whose kinds are for the mesh; all others are somebody else's business. */
function isOurs(group: string, kind: string): boolean {
  return (
    /(^|\.)istio\.io$/.test(group) || /^gateway\.networking\.(x-)?k8s\.io$/.test(group) || kind === "Ingress"
  );
}

/** Kinds that no other project has: under any other group they are meant for the mesh. */
const ONLY_OURS = new Set(["PeerAuthentication", "DestinationRule", "ServiceEntry", "ReferenceGrant"]);

/** The apiVersion that was meant, where a kind of ours stands under a group that looks like a slip; else null. */
function misnamed(group: string, kind: string): string | null {
  const [meant] = Object.keys(KINDS).filter(
    (key) => key.endsWith(`/${kind}`) && isOurs(key.split("/")[0]!, kind),
  );
  if (meant === undefined) return null;
  const slip = !group.includes(".") || /istio|networking\.(x-)?k8s/.test(group) || ONLY_OURS.has(kind);
  return slip ? `${meant.split("/")[0]}/${KINDS[meant as KindKey].versions[0]}` : null;
}

const INSTEAD: Readonly<Record<string, string>> = {
  EnvoyFilter: "it patches Envoy's own configuration, which proxies of this mesh need not have",
  Ingress: "use a Gateway with a VirtualService or an HTTPRoute",
  IstioOperator: "this mesh is set up by its own configuration",
};

/** Neither a kind nor an apiVersion, or Helm's Chart.yaml, whose apiVersion is its own. */
function isNobodys(value: Readonly<Record<string, unknown>>): boolean {
  if (value["kind"] !== undefined) return false;
  if (value["apiVersion"] === undefined) return true;
  return ["v1", "v2"].includes(String(value["apiVersion"])) && !("metadata" in value) && "version" in value;
}

class Collected implements LoadResult {
  readonly objects: Loaded[] = [];
  readonly issues: Issue[] = [];
  readonly #file: string;
  readonly #maybe: boolean;
  readonly #origin: Origin;

  constructor(file: string, maybe = false, origin: Origin = FROM_FILE) {
    this.#file = file;
    this.#maybe = maybe;
    this.#origin = origin;
  }

  fail(line: number, code: string, message: string, object = "", level: Issue["level"] = "error"): void {
    if (this.issues.length < MAX_ISSUES)
      this.issues.push({ level, code, message, file: this.#file, line, object, path: "" });
  }

  add(value: unknown, base: Path, lineOf: (path: Path) => number): void {
    const line = (path: Path): number => lineOf([...base, ...path]);
    if (this.#maybe && (!isMap(value) || isNobodys(value))) {
      this.fail(line([]), "foreign-file", LEFT_ALONE, "", "warning");
      return;
    }
    if (!isMap(value) || typeof value["kind"] !== "string" || typeof value["apiVersion"] !== "string") {
      this.fail(line([]), "not-an-object", "not a Kubernetes object: it needs the texts apiVersion and kind");
      return;
    }
    const [version, group] = (value["apiVersion"] as string).split("/").reverse() as [string, string?];
    const kind = value["kind"];
    const key = `${group ?? ""}/${kind}`;
    if (!Object.hasOwn(KINDS, key)) {
      const name = isMap(value["metadata"]) ? String(value["metadata"]["name"] ?? "") : "";
      const label = name === "" ? kind : `${kind} ${name}`;
      const what = `kind ${kind} of ${value["apiVersion"]}`;
      const right = misnamed(group ?? "", kind);
      if (right !== null) {
        this.fail(
          line(["apiVersion"]),
          "unknown-version",
          `there is no ${what}: say apiVersion: ${right}`,
          label,
        );
        return;
      }
      if (!isOurs(group ?? "", kind)) {
        this.fail(
          line(["kind"]),
          "foreign-kind",
          `${what} is not for the mesh: left alone`,
          label,
          "warning",
        );
        return;
      }
      const known = Object.keys(KINDS).filter((k) => k.startsWith(`${group}/`));
      const why =
        INSTEAD[kind] ??
        `known in this group: ${known.map((k) => k.slice(k.indexOf("/") + 1)).join(", ") || "none"}`;
      this.fail(line(["kind"]), "unknown-kind", `${what} is not supported: ${why}`, label);
      return;
    }
    const entry = KINDS[key as KindKey];
    if (!(entry.versions as readonly string[]).includes(version)) {
      this.fail(
        line(["apiVersion"]),
        "unknown-version",
        `${kind} has no version ${version} (known: ${entry.versions.join(", ")})`,
      );
      return;
    }
    let broken = false;
    let who = kind;
    const report = (path: Path, code: string, message: string): void => {
      const level = code === NOT_CARRIED_OUT ? "warning" : "error";
      if (level === "error") broken = true;
      if (this.issues.filter((issue) => issue.level === level).length >= MAX_ISSUES) return;
      this.issues.push({
        level,
        code,
        message,
        file: this.#file,
        line: line(path),
        object: who,
        path: showPath(path),
      });
    };
    if (!isMap(value["metadata"])) {
      report(["metadata"], "missing-field", 'field "metadata" is missing');
      return;
    }
    const metadata = metadataSchema(value["metadata"], ["metadata"], report);
    if (metadata === undefined || broken) return;
    const namespace = entry.namespaced ? (metadata.namespace ?? "default") : "";
    who = namespace === "" ? `${kind} ${metadata.name}` : `${kind} ${namespace}/${metadata.name}`;
    const flat = WITHOUT_SPEC.has(key);
    const spec = entry.spec(flat ? value : (value["spec"] ?? {}), flat ? [] : ["spec"], report);
    const status =
      key === "/Pod" && isMap(value["status"]) ? podStatus(value["status"], ["status"], report) : null;
    const action = isMap(spec) && "action" in spec ? String(spec["action"] ?? "ALLOW") : "ALLOW";
    if (isOurs(group ?? "", kind)) checkDryRun(kind, action, metadata.annotations ?? {}, report);
    if (!flat)
      for (const field of Object.keys(value))
        if (!["apiVersion", "kind", "metadata", "spec", "status"].includes(field))
          report([field], "unknown-field", `unknown field "${field}"`);
    if (broken || spec === undefined) return;
    this.objects.push({
      key: key as KindKey,
      source: {
        file: this.#file,
        line: line([]),
        group: group ?? "",
        version,
        kind,
        namespace,
        name: metadata.name,
      },
      origin: this.#origin,
      name: metadata.name,
      namespace,
      labels: metadata.labels ?? {},
      annotations: metadata.annotations ?? {},
      created: metadata.creationTimestamp ?? "",
      spec: spec as never,
      status: status ?? null,
      line,
      raw: value,
    });
  }
}

/** `key` is "group/Kind", with an empty group for the core's. */
export function isKind<K extends KindKey>(object: Loaded, key: K): object is Loaded<K> {
  return (object.key as string) === key;
}
