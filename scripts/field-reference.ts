/** docs/fields.md, made of the specs in policies/: what every kind takes, what it reads and does not do, what is refused by name. */
import { KINDS, WITHOUT_SPEC } from "../policies/kinds.ts";
import type { Schema } from "../policies/schema.ts";

type AnySchema = Schema<unknown>;
type Row = readonly [field: string, value: string, note: string];

/** What a text stands for, as people call it. */
const TEXT: Readonly<Record<string, string>> = {
  any: "text",
  host: "a host: DNS name or `*.suffix`",
  gateway: "a Gateway: NAME, NAMESPACE/NAME, or `mesh`",
  path: "a path",
  regex: "a regular expression of RE2",
  namespace: "a namespace",
  "header-name": "a header name",
  "request-header-name": "a header name",
  "header-value": "a header value",
  "port-or-name": "a port, or its name",
  quantity: "a quantity: `500m`, `64Mi`",
  "count-or-percent": "a count, or `25%`",
  base64: "base64",
  range: "an address, or a range in CIDR notation",
  principal: "an identity: `cluster.local/ns/NAMESPACE/sa/NAME`",
};

/** Schemas that stand in several kinds are described once, under the kind that is named after them. */
const NAMED = new Map<AnySchema, string>([[KINDS["/Pod"].spec as AnySchema, "Pod"]]);

export function fieldReference(): string {
  const sections = Object.entries(KINDS)
    .filter(([key]) => key !== "networking.k8s.io/IPAddress") // the platform's own
    .map(([key, { spec, versions }]) => section(key, spec as AnySchema, versions));
  return `${HEAD}\n${sections.join("\n")}`;
}

const HEAD = `<!-- Made by \`npm run docs\` from policies/: do not edit. -->
# Fields of every kind

What Weft takes of each kind. A field that is not here is an error that names it, with file and line; fields of the API
that Weft knows and does not carry out are listed as **refused**, or as **read, not done**: then \`up\`, \`apply\`,
\`validate\` and \`status\` warn. \`[]\` is an element of a list, \`*\` a name of your own. What \`metadata\` holds is Kubernetes'.
`;

function section(key: string, spec: AnySchema, versions: readonly string[]): string {
  const at = key.indexOf("/");
  const [group, kind] = [key.slice(0, at), key.slice(at + 1)];
  const api = versions.map((v) => `\`${group === "" ? v : `${group}/${v}`}\``).join(", ");
  const rows = rowsOf(spec, WITHOUT_SPEC.has(key) ? "" : "spec", NAMED.get(spec) === kind, new Map());
  const open = spec.shape?.kind === "object" && spec.shape.open;
  const body =
    rows.length === 0 ? "" : `\n| field | value | |\n|---|---|---|\n${rows.map(line).join("\n")}\n`;
  return `## ${kind}${group === "gateway.networking.k8s.io" && kind === "Gateway" ? " (Gateway API)" : ""}

${api}.${open ? " Other fields speak to Kubernetes, not to the mesh, and are left alone." : ""}
${body}`;
}

const line = ([field, value, note]: Row): string =>
  `| \`${field}\` | ${value.replaceAll("|", "\\|")} | ${note.replaceAll("|", "\\|")} |`;

/** Larger ones are described once and referred to; for smaller ones a reader would rather not jump. */
const REFER_FROM = 3;

/** `own`: the schema is described here even where it has a name. `seen`: what this kind has described, and where. */
function rowsOf(schema: AnySchema, path: string, own: boolean, seen: Map<AnySchema, string>): Row[] {
  const { shape } = schema;
  if (path.endsWith("metadata")) return [[path, "labels and annotations", ""]];
  const before = seen.get(schema);
  if (before !== undefined) return [[path, `as \`${before}\``, ""]];
  const named = own ? undefined : (NAMED.get(schema) ?? (isPod(schema, path) ? "Pod" : undefined));
  if (named !== undefined) return [[path, `as \`spec\` of a ${named}`, ""]];
  if (shape?.kind === "object") {
    const rows = objectRows(shape, path, seen);
    if (rows.length >= REFER_FROM) seen.set(schema, path);
    return rows;
  }
  if (shape?.kind === "list" || shape?.kind === "map") {
    const inner = `${path}${shape.kind === "list" ? "[]" : ".*"}`;
    const { item } = shape;
    if (isComposite(item)) return rowsOf(item, inner, false, seen);
    return [[inner, valueText(item), ""]];
  }
  return [];
}

function objectRows(
  shape: Extract<NonNullable<AnySchema["shape"]>, { kind: "object" }>,
  path: string,
  seen: Map<AnySchema, string>,
): Row[] {
  const join = (key: string): string => (path === "" ? key : `${path}.${key}`);
  const rows: Row[] = [];
  for (const [key, field] of Object.entries(shape.fields)) {
    const schema = typeof field === "function" ? field : field.required;
    const note =
      schema.idle === undefined
        ? typeof field === "function"
          ? ""
          : "required"
        : `**read, not done**: ${schema.idle}`;
    if (schema.idle !== undefined || !isComposite(schema)) rows.push([join(key), valueText(schema), note]);
    else {
      if (note !== "") rows.push([join(key), valueText(schema), note]);
      rows.push(...rowsOf(schema, join(key), false, seen));
    }
  }
  for (const key of shape.later) rows.push([join(key), "", "**refused**: not supported yet"]);
  return rows;
}

/** A StatefulSet's pods take what others do, but for volumes of its own claims. */
function isPod({ shape }: AnySchema, path: string): boolean {
  return (
    path.endsWith("template.spec") && shape?.kind === "object" && Object.hasOwn(shape.fields, "containers")
  );
}

function isComposite({ shape }: AnySchema): boolean {
  return shape?.kind === "object" || shape?.kind === "list" || shape?.kind === "map";
}

function valueText({ shape }: AnySchema): string {
  switch (shape?.kind) {
    case undefined:
      return "any value";
    case "text":
      return TEXT[shape.like] ?? shape.like.replaceAll("-", " ");
    case "boolean":
      return "true or false";
    case "integer":
      return shape.max >= 2 ** 31 - 1
        ? `a whole number from ${shape.min}`
        : `a whole number from ${shape.min} to ${shape.max}`;
    case "number":
      return `a number from ${shape.min} to ${shape.max}`;
    case "duration":
      return shape.minMs > 0 ? "a duration: `5s`, `100ms`; not 0" : "a duration: `5s`, `100ms`";
    case "one-of":
      return shape.names.map((name) => `\`${name}\``).join(", ");
    case "list":
      return "a list";
    case "map":
      return "a map";
    case "object":
      return "a block";
  }
}
