import { isNode, LineCounter, parseAllDocuments } from "yaml";
import type { SourceRef } from "#ir/source.ts";
import { KINDS, type KindKey, type SpecOf, WITHOUT_SPEC } from "./kinds.ts";
import { type PodStatus, podStatus } from "./pod/spec.ts";
import { type Issue, isMap, labels, object, type Path, required, showPath, str } from "./schema.ts";

/** One validated object. `line(path)` finds the line of a field; `raw` is the document as parsed. */
export interface Loaded<K extends KindKey = KindKey> {
  readonly key: K;
  readonly source: SourceRef;
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
const MAX_BYTES = 4 * 1024 * 1024;
const MAX_ALIASES = 100;
const MAX_DEPTH_ERRORS = 50;

const metadataSchema = object(
  { name: required(str), namespace: str, labels, annotations: labels, creationTimestamp: str },
  { open: true },
);

/** Parses YAML (or JSON) text into objects; never throws. An object with an error is left out, the others stand. */
export function load(text: string, file: string, defaultNamespace = "default"): LoadResult {
  const objects: Loaded[] = [];
  const issues: Issue[] = [];
  const fail = (line: number, code: string, message: string): void => {
    if (issues.length < MAX_DEPTH_ERRORS)
      issues.push({ level: "error", code, message, file, line, object: "", path: "" });
  };
  if (Buffer.byteLength(text) > MAX_BYTES) {
    fail(1, "too-large", `file is larger than ${MAX_BYTES} bytes; split it`);
    return { objects, issues };
  }
  const lines = new LineCounter();
  try {
    const documents = parseAllDocuments(text, { version: "1.1", lineCounter: lines, prettyErrors: false });
    for (const document of Array.isArray(documents) ? documents : []) {
      if (document.errors.length > 0) {
        for (const error of document.errors) fail(lines.linePos(error.pos[0]).line, "yaml", error.message);
        continue;
      }
      const lineOf = (path: Path): number => {
        for (let n = path.length; n >= 0; n--) {
          const node = n === 0 ? document.contents : document.getIn(path.slice(0, n), true);
          if (isNode(node) && node.range) return lines.linePos(node.range[0]).line;
        }
        return 1;
      };
      let value: unknown;
      try {
        value = document.toJS({ maxAliasCount: MAX_ALIASES });
      } catch (error) {
        fail(lineOf([]), "yaml", `${(error as Error).message} (limit ${MAX_ALIASES} aliases)`);
        continue;
      }
      if (value === null || value === undefined) continue;
      if (
        isMap(value) &&
        typeof value["kind"] === "string" &&
        value["kind"].endsWith("List") &&
        Array.isArray(value["items"])
      )
        value["items"].forEach((item, i) => void one(item, ["items", i], lineOf));
      else one(value, [], lineOf);
    }
  } catch (error) {
    fail(1, "yaml", (error as Error).message);
  }
  return { objects, issues };

  function one(value: unknown, base: Path, lineOf: (path: Path) => number) {
    const line = (path: Path): number => lineOf([...base, ...path]);
    if (!isMap(value) || typeof value["kind"] !== "string" || typeof value["apiVersion"] !== "string")
      return fail(
        line([]),
        "not-an-object",
        "not a Kubernetes object: it needs the texts apiVersion and kind",
      );
    const [version, group] = (value["apiVersion"] as string).split("/").reverse() as [string, string?];
    const kind = value["kind"];
    const key = `${group ?? ""}/${kind}`;
    if (!Object.hasOwn(KINDS, key))
      return fail(line(["kind"]), "unknown-kind", `kind ${kind} of ${value["apiVersion"]} is not supported`);
    const entry = KINDS[key as KindKey];
    if (!(entry.versions as readonly string[]).includes(version))
      return fail(
        line(["apiVersion"]),
        "unknown-version",
        `${kind} has no version ${version} (known: ${entry.versions.join(", ")})`,
      );
    let broken = false;
    let who = kind;
    const report = (path: Path, code: string, message: string): void => {
      broken = true;
      if (issues.length >= MAX_DEPTH_ERRORS) return;
      issues.push({
        level: "error",
        code,
        message,
        file,
        line: line(path),
        object: who,
        path: showPath(path),
      });
    };
    if (!isMap(value["metadata"]))
      return report(["metadata"], "missing-field", 'field "metadata" is missing');
    const metadata = metadataSchema(value["metadata"], ["metadata"], report);
    if (metadata === undefined || broken) return;
    const namespace = entry.namespaced ? (metadata.namespace ?? defaultNamespace) : "";
    who = namespace === "" ? `${kind} ${metadata.name}` : `${kind} ${namespace}/${metadata.name}`;
    const flat = WITHOUT_SPEC.has(key);
    const spec = entry.spec(flat ? value : (value["spec"] ?? {}), flat ? [] : ["spec"], report);
    const status =
      key === "/Pod" && isMap(value["status"]) ? podStatus(value["status"], ["status"], report) : null;
    if (!flat)
      for (const field of Object.keys(value))
        if (!["apiVersion", "kind", "metadata", "spec", "status"].includes(field))
          report([field], "unknown-field", `unknown field "${field}"`);
    if (broken || spec === undefined) return;
    objects.push({
      key: key as KindKey,
      source: { file, line: line([]), group: group ?? "", version, kind, namespace, name: metadata.name },
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

export function isKind<K extends KindKey>(object: Loaded, key: K): object is Loaded<K> {
  return (object.key as string) === key;
}
