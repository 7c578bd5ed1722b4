import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { toJson } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { Memo } from "#lib/memo.ts";
import {
  decodeText,
  type Issue,
  type Loaded,
  sayIssue,
  showable,
  validate,
  type World,
} from "#policies/index.ts";
import type { ResourceSet } from "#xds/index.ts";
import type { Config } from "../config.ts";
import type { ProxyStatus } from "../serve/status.ts";
import type { TraceQuery, TraceStore } from "../traces/index.ts";
import { registry } from "../write/resource.ts";
import type {
  AppliedAnswer,
  DeletedAnswer,
  ErrorAnswer,
  ErrorsAnswer,
  HealthAnswer,
  NamedObject,
  NamedText,
  ObjectsAnswer,
  StatusAnswer,
  TraceAnswer,
  TracesAnswer,
  WorkloadsAnswer,
  WorldAnswer,
  XdsAnswer,
} from "./contract.ts";
import { AdminError, applyObjects, deleteObjects, nameOf } from "./objects.ts";
import { type Refusal, refusals, sayRefusal } from "./refusals.ts";
import { workloads } from "./workloads.ts";

export interface AdminOptions {
  readonly config: Config;
  readonly world: () => World;
  /** Of all sources, before applied objects hide others. */
  readonly objects: () => readonly Loaded[];
  readonly issues: () => readonly Issue[];
  /** Objects that still hold although their files do not have them any more. */
  readonly awaited: () => readonly { readonly issue: Issue; readonly leftMs: number }[];
  readonly proxies: () => readonly ProxyStatus[];
  /**
   * Call it before a change; the result, called after it, waits until each proxy has answered what the change made it
   * be sent, one has refused it, or so many ms are over.
   */
  readonly answers: () => (timeoutMs: number) => Promise<void>;
  /** What connected proxies were last given, by node id. */
  readonly resources: () => ReadonlyMap<string, ResourceSet | null>;
  /** Proxies for which not everything could be made, by node id, and why. */
  readonly failures: () => ReadonlyMap<string, readonly string[]>;
  /** Null: this control plane receives no spans. */
  readonly traces: TraceStore | null;
  /** Reads the sources again, now. */
  readonly reload: () => void;
}

type Answer =
  | AppliedAnswer
  | DeletedAnswer
  | ErrorAnswer
  | ErrorsAnswer
  | HealthAnswer
  | ObjectsAnswer
  | StatusAnswer
  | TraceAnswer
  | TracesAnswer
  | WorkloadsAnswer
  | WorldAnswer
  | XdsAnswer;

/** How long apply waits for what proxies say of it. They mostly answer within some ms. */
const ANSWER_MS = 1000;

/** Files in JSON: their quotes and line ends take two bytes each. */
const MAX_BODY = 8 * 1024 * 1024;

/** The admin API; the caller makes it listen. */
export function createAdminServer(options: AdminOptions): Server {
  return createServer((request, response) => {
    const send = (status: number, answer: Answer) =>
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(answer));
    route(request, options).then(
      (answer) => send(200, answer),
      (error: Error) => {
        if (!(error instanceof AdminError)) send(500, { error: error.message });
        else if (error.status === 422) send(422, { errors: error.errors });
        else send(error.status, { error: error.message });
      },
    );
  });
}

async function route(request: IncomingMessage, options: AdminOptions): Promise<Answer> {
  const url = new URL(request.url ?? "/", "http://localhost");
  const [head = "", ...rest] = url.pathname.slice(1).split("/").map(decode);
  const named = head === "objects" && rest.join() === "delete" ? rest : rest.map(() => "*");
  const what = `${request.method} ${[head, ...named].join("/")}`;
  switch (what) {
    case "GET healthz":
      return { ok: true };
    case "GET status":
      // Files written before the question are in the answer: whoever waits for "synced" waits for his own change.
      options.reload();
      return status(options);
    case "GET world":
      return worldOf(options);
    case "GET workloads":
      return workloads(options.world());
    case "GET objects":
      return list(options, url.searchParams);
    case "GET traces":
      return tracesAnswer(tracesOf(options), url.searchParams);
    case "GET traces/*": {
      const spans = tracesOf(options).get(rest[0] ?? "");
      if (spans === null) throw new AdminError(404, [`no trace "${rest[0]}" is kept`]);
      return { spans };
    }
    case "GET xds/*":
      return xds(options, rest[0] ?? "");
    case "PUT objects": {
      const texts = textsOf(await read(request));
      return await inTurn(async () => {
        const before = new Set(refusedNow(options).map(sayRefusal));
        const answered = options.answers();
        const answer = await applyObjects(texts, options.objects(), options.config, options.world());
        options.reload();
        await answered(ANSWER_MS);
        const refused = Map.groupBy(refusedNow(options), sayRefusal);
        for (const known of before) refused.delete(known);
        if (refused.size === 0) return answer;
        return {
          ...answer,
          refused: [...refused].map(([text, of]) => `${text} (${sayProxies(of.map((r) => r.nodeId))})`),
        };
      });
    }
    case "POST objects/delete": {
      const wanted = wantedOf(await read(request));
      return await inTurn(async () => {
        const answer = deleteObjects(wanted, options.objects(), options.config);
        options.reload();
        return answer;
      });
    }
    case "DELETE objects/*/*/*": {
      const [kind = "", namespace = "", name = ""] = rest;
      return await inTurn(async () => {
        const answer = deleteObjects([{ kind, namespace, name }], options.objects(), options.config);
        const [error] = answer.errors;
        if (error !== undefined) throw new AdminError(error.includes("no such object") ? 404 : 409, [error]);
        options.reload();
        return answer;
      });
    }
    default:
      throw new AdminError(404, [`no such endpoint: ${request.method} ${url.pathname}`]);
  }
}

let turn: Promise<unknown> = Promise.resolve();
/** What changes objects sees what the one before it has changed. */
function inTurn<T>(change: () => Promise<T>): Promise<T> {
  const mine = turn.then(change, change);
  turn = mine;
  return mine;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new AdminError(400, [`bad escape in the path: ${part}`]);
  }
}

async function read(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size <= MAX_BODY) chunks.push(chunk);
  }
  if (size > MAX_BODY) throw new AdminError(413, [`the body is larger than ${MAX_BODY} bytes`]);
  const decoded = decodeText(Buffer.concat(chunks));
  if ("problem" in decoded) throw new AdminError(422, [`request: ${decoded.problem}`]);
  return decoded.text;
}

/** JSON `{files: [{file, text}]}`, else YAML. */
function textsOf(body: string): NamedText[] {
  const files = jsonOf(body)?.["files"];
  if (!Array.isArray(files)) return [{ file: "request", text: body }];
  return files.map((one: Partial<NamedText> | null) => ({
    file: String(one?.file ?? "request"),
    text: String(one?.text ?? ""),
  }));
}

function wantedOf(body: string): readonly NamedObject[] | "all" {
  const value = jsonOf(body);
  if (value?.["all"] === true) return "all";
  const objects = value?.["objects"];
  if (!Array.isArray(objects))
    throw new AdminError(400, [
      'say what to delete: {"all": true} or {"objects": [{kind, namespace, name}]}',
    ]);
  return objects.map((one: Partial<NamedObject> | null) => ({
    kind: String(one?.kind ?? ""),
    namespace: String(one?.namespace ?? ""),
    name: String(one?.name ?? ""),
  }));
}

function jsonOf(text: string): Readonly<Record<string, unknown>> | null {
  if (!text.trimStart().startsWith("{")) return null;
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return null;
  }
}

function status(options: AdminOptions): StatusAnswer {
  const refused = new Map(refusedNow(options).map((r) => [`${r.nodeId} ${r.type}`, r.policies]));
  return {
    world: versionOf(options.world()),
    proxies: options.proxies().map(({ nodeId, connected, types }) => ({
      nodeId,
      connected,
      types: Object.fromEntries(
        Object.entries(types).map(([type, one]) => {
          const policies = refused.get(`${nodeId} ${type}`);
          return [type, policies === undefined ? one : { ...one, policies }];
        }),
      ),
    })),
  };
}

const refusedNow = ({ proxies, resources, world }: AdminOptions): Refusal[] =>
  refusals(proxies(), resources(), world());

function tracesOf({ traces }: AdminOptions): TraceStore {
  if (traces === null) throw new AdminError(404, ["this control plane receives no spans: set listen.otlp"]);
  return traces;
}

function tracesAnswer(store: TraceStore, params: URLSearchParams): TracesAnswer {
  const query = traceQuery(params);
  const traces =
    params.get("whole") === "true"
      ? store.listWhole(query).map(({ summary, spans }) => ({ ...summary, whole: spans }))
      : store.list(query);
  return { traces, services: store.services() };
}

const MAX_TRACES = 1000;

function traceQuery(query: URLSearchParams): TraceQuery {
  const number = (key: string, otherwise: number): number => {
    const text = query.get(key);
    const value = text === null ? otherwise : Number(text);
    if (text === "" || !Number.isFinite(value) || value < 0)
      throw new AdminError(400, [`${key}: "${text}" is not a number from 0 up`]);
    return value;
  };
  const id = (query.get("id") ?? "").toLowerCase();
  if (!/^[0-9a-f]*$/.test(id))
    throw new AdminError(400, [`id: "${id}" is not the beginning of a trace id: hex digits`]);
  return {
    limit: Math.min(Math.floor(number("limit", 20)), MAX_TRACES),
    sinceMs: number("since", 0),
    untilMs: number("until", Number.MAX_SAFE_INTEGER),
    services: query.getAll("service"),
    idPrefix: id,
  };
}

function worldOf(options: AdminOptions): WorldAnswer {
  const world = options.world();
  const counts: Record<string, number> = {};
  for (const { source } of world.objects) counts[source.kind] = (counts[source.kind] ?? 0) + 1;
  const issues = [...options.issues(), ...validate(world)].filter(({ code }) => code !== "awaited");
  const of = (level: Issue["level"]) => issues.filter((i) => i.level === level).map(sayIssue);
  const failures = Map.groupBy(
    [...options.failures()].flatMap(([node, reasons]) => reasons.map((reason) => ({ node, reason }))),
    ({ reason }) => reason,
  );
  return {
    version: versionOf(world),
    counts,
    errors: [
      ...of("error"),
      ...[...failures].map(([reason, proxies]) => `${reason} (${sayProxies(proxies.map((p) => p.node))})`),
    ],
    warnings: of("warning"),
    awaited: options.awaited().map(({ issue, leftMs }) => `${sayIssue(issue)} (${sayLeft(leftMs)})`),
  };
}

function sayProxies(nodes: readonly string[]): string {
  const names = nodes.map((node) => node.split("~")[2] ?? node);
  const more = names.length > 3 ? ` and ${names.length - 3} more` : "";
  return `${names.length === 1 ? "proxy" : "proxies"} ${names.slice(0, 3).join(", ")}${more}`;
}

function sayLeft(ms: number): string {
  return ms > 0 ? `${Math.ceil(ms / 1000)} s left` : "it waits for the rest of the folder";
}

const versions = new Memo<string>();
function versionOf(world: World): string {
  return versions.get(world, "", () => {
    const hash = createHash("sha256");
    for (const o of world.objects) hash.update(JSON.stringify(o.raw));
    return hash.digest("hex").slice(0, 16);
  });
}

function list(options: AdminOptions, query: URLSearchParams): ObjectsAnswer {
  const world = options.world();
  const warnings = Map.groupBy(
    [...options.issues(), ...validate(world)].filter((i) => i.level === "warning"),
    ({ object }) => object,
  );
  const is = (key: string, value: string) => !query.has(key) || query.get(key) === value;
  return {
    objects: world.objects
      .filter((o) => is("kind", o.source.kind) && is("namespace", o.namespace) && is("name", o.name))
      .map((o) => ({
        kind: o.source.kind,
        namespace: o.namespace,
        name: o.name,
        source: {
          file: o.source.file,
          line: o.source.line,
          applied: o.origin.kind === "applied" ? o.origin.appliedAt : null,
        },
        warnings: (warnings.get(nameOf(o)) ?? []).map(sayIssue),
        object: showable(o.raw),
      })),
  };
}

function xds(options: AdminOptions, wanted: string): XdsAnswer {
  const all = options.resources();
  const id = all.has(wanted) ? wanted : [...all.keys()].find((node) => node.split("~")[2] === wanted);
  if (id === undefined) throw new AdminError(404, [`no proxy "${wanted}" is connected`]);
  const types = [...(all.get(id) ?? [])];
  return Object.fromEntries(
    types.map(([type, set]) => [type, [...set.values()].map((r) => toJson(AnySchema, r.any, { registry }))]),
  );
}
