import { toJson } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { Memo } from "#lib/memo.ts";
import type { Loaded, World } from "#policies/index.ts";
import type { PackedResource, ResourceSet } from "#xds/index.ts";
import { registry } from "../write/index.ts";

/** An object that a refused resource was made of. */
export interface Blamed {
  /** "VirtualService default/reviews" */
  readonly object: string;
  readonly file: string;
  /** 1-based. */
  readonly line: number;
}

const MOST = 5;
/** So short a resource name, such as that of the table "80", stands in a text by chance. */
const TELLING = 6;

/**
 * The policies behind a refusal. A proxy says which listener or cluster it means, seldom which table, and often quotes the
 * value that it does not take: the objects that have it come alone; where none has, those of the resource do.
 */
export function blame(world: World, type: string, given: ResourceSet | null, nack: string): Blamed[] {
  const all = [...(given?.get(type)?.values() ?? [])];
  const objects = byId.get(world.objects, "", () => new Map(world.objects.map((o) => [idOf(o), o])));
  const lines = nack.split("\n");
  const named = all.filter(({ name }) =>
    name.length < TELLING ? lines.some((l) => l.startsWith(`${name}: `)) : nack.includes(name),
  );
  const found = new Map<Loaded, Set<number>>();
  for (const resource of named.length > 0 ? named : all)
    for (const { id, line } of read.get(resource, "", () => statementsOf(resource))) {
      const object = objects.get(id);
      if (object !== undefined) found.set(object, (found.get(object) ?? new Set()).add(line));
    }
  const scored = [...found].map(([object, lines]) => ({ object, lines, score: quoted(object.raw, nack) }));
  const best = Math.max(0, ...scored.map(({ score }) => score));
  return scored
    .filter(({ score }) => score === best)
    .slice(0, MOST)
    .map(({ object: { source }, lines: statements }) => {
      const [line = 0, ...others] = statements;
      return {
        object: `${source.kind} ${source.namespace}/${source.name}`,
        file: source.file,
        line: others.length > 0 || line === 0 ? source.line : line,
      };
    });
}

interface Statement {
  /** As in `istio.config`: "virtual-service default/reviews". */
  readonly id: string;
  /** 0 = not known. */
  readonly line: number;
}

/** Proxies share most of their resources. */
const read = new Memo<readonly Statement[]>();
const byId = new Memo<ReadonlyMap<string, Loaded>>();

function idOf({ source: { kind, namespace, name } }: Loaded): string {
  return `${kind.replace(/([a-z0-9])([A-Z])/g, "$1-$2").toLowerCase()} ${namespace}/${name}`;
}

/** From what the control plane writes into routes and clusters (filter_metadata) and RBAC policies (their names). */
function statementsOf({ any }: PackedResource): Statement[] {
  const statements: Statement[] = [];
  JSON.stringify(toJson(AnySchema, any, { registry }), (key, value) => {
    const [, namespace = "", name = ""] = /^ns\[(.*)\]-policy\[(.*)\]-rule\[\d+\]$/.exec(key) ?? [];
    if (name !== "") statements.push({ id: `authorization-policy ${namespace}/${name}`, line: 0 });
    if (key === "filterMetadata") {
      const [, ns, kind, object] =
        /namespaces\/([^/]*)\/([^/]+)\/(.+)$/.exec(value.istio?.config ?? "") ?? [];
      const line = Number(/:(\d+)$/.exec(value.weft?.source ?? "")?.[1] ?? 0);
      if (object !== undefined) statements.push({ id: `${kind} ${ns}/${object}`, line });
    }
    return value;
  });
  return statements;
}

/** How much of what somebody wrote stands in the text. */
function quoted(raw: Readonly<Record<string, unknown>>, text: string): number {
  const values = new Set<string>();
  JSON.stringify(raw["spec"], (key, value) => {
    // Names of headers are keys.
    if (key.includes("-")) values.add(key);
    if (typeof value === "string" || typeof value === "number") values.add(String(value));
    return value;
  });
  return [...values].reduce((sum, v) => sum + (v.length > 1 && text.includes(v) ? v.length : 0), 0);
}
