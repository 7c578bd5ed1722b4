import { rm } from "node:fs/promises";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { isLogLevel, type LogLevel } from "#lib/log.ts";
import type { ListenAddress } from "../bootstrap.ts";
import type { CertsAnswer, ClustersAnswer, ListenersAnswer, ServerInfo } from "./contract.ts";
import { clustersText, listenersText } from "./pages.ts";

// An `import` of node:http reads every export, and one of them loads undici: 13 MiB and 30 ms of every start (Node 24).
const { createServer } = process.getBuiltinModule("node:http");

/** Where the pages' content comes from. */
export interface AdminSource {
  ready(): boolean;
  serverInfo(): ServerInfo;
  configDump(query: URLSearchParams): Promise<unknown>;
  clusters(): ClustersAnswer;
  listeners(): ListenersAnswer;
  certs(): CertsAnswer;
  stats(): Iterable<readonly [string, number]>;
  prometheus(): string;
  setLogLevel(level: LogLevel): void;
  drain(): void;
}

const LOCAL_HOSTS = new Set(["localhost", "127.0.0.1", "[::1]", ""]);
const PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8";
/** Envoy's words for levels that have another name here. */
const ENVOY_LEVELS: Readonly<Record<string, LogLevel>> = {
  trace: "debug",
  warning: "warn",
  critical: "error",
  off: "silent",
};

/** All pages. Rejects when the address cannot be bound. */
export function serveAdmin(address: ListenAddress, source: AdminSource): Promise<Server> {
  const unix = address.kind === "unix";
  return serve(address, (request, response) => {
    // A web page in a browser on this machine can reach loopback by DNS rebinding: its Host gives it away.
    if (!unix && !isLocalHost(request.headers.host ?? ""))
      reply(response, 403, "Host is not this machine's loopback\n");
    else
      answer(request, response, source).catch((error: Error) => {
        if (!response.headersSent) reply(response, 500, `${error.message}\n`);
        else response.destroy();
      });
  });
}

/** For scrapers, on an address that others reach: the metrics and nothing else. */
export function servePrometheus(address: ListenAddress, source: AdminSource): Promise<Server> {
  return serve(address, (request, response) => {
    const path = pathOf(request);
    if (path === "/stats/prometheus" || path === "/metrics")
      reply(response, 200, source.prometheus(), PROMETHEUS_TYPE);
    else reply(response, 404, "metrics are at /stats/prometheus\n");
  });
}

/** For the kubelet's probes, which come from outside the pod. */
export function serveStatus(port: number, source: AdminSource): Promise<Server> {
  return serve({ kind: "tcp", host: "0.0.0.0", port }, (request, response) => {
    if (pathOf(request) !== "/healthz/ready") reply(response, 404, "readiness is at /healthz/ready\n");
    else if (source.ready()) reply(response, 200, "");
    else reply(response, 503, "");
  });
}

async function serve(
  address: ListenAddress,
  handle: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<Server> {
  const server = createServer({ maxHeaderSize: 8192, requestTimeout: 5000 }, handle);
  if (address.kind === "unix") await rm(address.path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    if (address.kind === "unix") server.listen(address.path, resolve);
    else server.listen(address.port, address.host, resolve);
  });
  return server;
}

function isLocalHost(host: string): boolean {
  return LOCAL_HOSTS.has(host.replace(/:\d+$/, "").toLowerCase());
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? "").split("?", 1)[0]!;
}

const PAGES = `/ready /server_info /config_dump[?include_eds&resource=&name_regex=] /clusters[?format=json] /listeners[?format=json]
/certs /stats[?filter=&format=json|prometheus] /stats/prometheus /memory
POST: /logging[?level=debug|info|warn|error|silent] /drain_listeners
`;
const CHANGING = new Set(["/logging", "/drain_listeners"]);

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  source: AdminSource,
): Promise<void> {
  const { pathname, searchParams: query } = new URL(request.url ?? "/", "http://admin");
  const changes = CHANGING.has(pathname);
  if (changes !== (request.method === "POST")) {
    reply(response, 405, `${pathname} takes ${changes ? "POST" : "GET"}\n`);
    return;
  }
  const asJson = query.get("format") === "json";
  switch (pathname) {
    case "/":
    case "/help":
      return reply(response, 200, PAGES);
    case "/ready": {
      const { state } = source.serverInfo();
      return reply(response, source.ready() ? 200 : 503, `${source.ready() ? "LIVE" : state}\n`);
    }
    case "/server_info":
      return json(response, source.serverInfo());
    case "/config_dump":
      return json(response, await source.configDump(query));
    case "/clusters":
      return asJson
        ? json(response, source.clusters())
        : reply(response, 200, clustersText(source.clusters()));
    case "/listeners":
      return asJson
        ? json(response, source.listeners())
        : reply(response, 200, listenersText(source.listeners()));
    case "/certs":
      return json(response, source.certs());
    case "/memory": {
      const { heapUsed, heapTotal, rss, external } = process.memoryUsage();
      const allocated = String(heapUsed + external);
      return json(response, { allocated, heap_size: String(heapTotal), total_physical_bytes: String(rss) });
    }
    case "/stats":
      return stats(response, source, query);
    case "/stats/prometheus":
      return reply(response, 200, source.prometheus(), PROMETHEUS_TYPE);
    case "/logging": {
      const word = query.get("level") ?? "";
      const level = ENVOY_LEVELS[word] ?? word;
      if (!isLogLevel(level))
        return reply(response, 400, `level "${word}" is not one of debug, info, warn, error, silent\n`);
      source.setLogLevel(level);
      return reply(response, 200, `active loggers:\n  all: ${level}\n`);
    }
    case "/drain_listeners":
      source.drain();
      return reply(response, 200, "OK\n");
    default:
      return reply(response, 404, "no such page; / lists them\n");
  }
}

/** As Envoy: `name: value`, or `{"stats": [{name, value}]}`; `filter` is a regular expression that must be found. */
function stats(response: ServerResponse, source: AdminSource, query: URLSearchParams): void {
  if (query.get("format") === "prometheus") {
    reply(response, 200, source.prometheus(), PROMETHEUS_TYPE);
    return;
  }
  let filter: RegExp;
  try {
    filter = new RegExp(query.get("filter") ?? "");
  } catch {
    reply(response, 400, "filter is not a regular expression\n");
    return;
  }
  const found = Array.from(source.stats()).filter(([name]) => filter.test(name));
  if (query.get("format") === "json")
    json(response, { stats: found.map(([name, value]) => ({ name, value })) });
  else reply(response, 200, found.map(([name, value]) => `${name}: ${value}\n`).join(""));
}

function json(response: ServerResponse, body: unknown): void {
  const text = JSON.stringify(body, (_k, v: unknown) => (typeof v === "bigint" ? v.toString() : v), 1);
  reply(response, 200, `${text}\n`, "application/json");
}

function reply(response: ServerResponse, status: number, body: string, type = "text/plain"): void {
  response.writeHead(status, { "content-type": type, "x-content-type-options": "nosniff" });
  response.end(body);
}
