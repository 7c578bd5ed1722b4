import { rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { isLogLevel, type LogLevel } from "#lib/log.ts";
import type { ListenAddress } from "../bootstrap.ts";
import type { CertsAnswer, ClustersAnswer, ListenersAnswer, ServerInfo } from "./contract.ts";

/** Where the pages' content comes from. */
export interface AdminSource {
  ready(): boolean;
  serverInfo(): ServerInfo;
  configDump(): unknown;
  clusters(): ClustersAnswer;
  listeners(): ListenersAnswer;
  certs(): CertsAnswer;
  stats(): Iterable<readonly [string, number]>;
  prometheus(): string;
  setLogLevel(level: LogLevel): void;
  drain(): void;
  /** null = the endpoint is off. */
  readonly quit: (() => void) | null;
}

const LOCAL_HOSTS = new Set(["localhost", "127.0.0.1", "[::1]", ""]);

export async function serveAdmin(address: ListenAddress, source: AdminSource): Promise<Server> {
  const unix = address.kind === "unix";
  const server = createServer({ maxHeaderSize: 8192, requestTimeout: 5000 }, (request, response) => {
    // A web page in a browser on this machine can reach loopback by DNS rebinding: its Host gives it away.
    if (!unix && !isLocalHost(request.headers.host ?? ""))
      reply(response, 403, "Host is not this machine's loopback\n");
    else answer(request, response, source);
  });
  if (unix) await rm(address.path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    if (unix) server.listen(address.path, resolve);
    else server.listen(address.port, address.host, resolve);
  });
  return server;
}

function isLocalHost(host: string): boolean {
  return LOCAL_HOSTS.has(host.replace(/:\d+$/, "").toLowerCase());
}

function answer(request: IncomingMessage, response: ServerResponse, source: AdminSource): void {
  const url = new URL(request.url ?? "/", "http://admin");
  const changes =
    url.pathname === "/logging" || url.pathname === "/drain_listeners" || url.pathname === "/quitquitquit";
  if (changes !== (request.method === "POST")) {
    reply(response, 405, `${url.pathname} takes ${changes ? "POST" : "GET"}\n`);
    return;
  }
  switch (url.pathname) {
    case "/ready":
      return source.ready() ? reply(response, 200, "LIVE\n") : reply(response, 503, "PRE_INITIALIZING\n");
    case "/server_info":
      return json(response, source.serverInfo());
    case "/config_dump":
      return json(response, source.configDump());
    case "/clusters":
      return json(response, source.clusters());
    case "/listeners":
      return json(response, source.listeners());
    case "/certs":
      return json(response, source.certs());
    case "/stats":
      return reply(
        response,
        200,
        Array.from(source.stats(), ([name, value]) => `${name}: ${value}\n`).join(""),
      );
    case "/stats/prometheus":
      return reply(response, 200, source.prometheus(), "text/plain; version=0.0.4; charset=utf-8");
    case "/logging": {
      const level = url.searchParams.get("level") ?? "";
      if (!isLogLevel(level))
        return reply(response, 400, `level "${level}" is not one of debug, info, warn, error\n`);
      source.setLogLevel(level);
      return reply(response, 200, "OK\n");
    }
    case "/drain_listeners":
      source.drain();
      return reply(response, 200, "OK\n");
    case "/quitquitquit":
      if (source.quit === null) return reply(response, 403, "off; it must be enabled in the configuration\n");
      reply(response, 200, "OK\n");
      return source.quit();
    default:
      return reply(response, 404, "no such page\n");
  }
}

function json(response: ServerResponse, body: unknown): void {
  const text = JSON.stringify(body, (_k, v: unknown) => (typeof v === "bigint" ? v.toString() : v), 1);
  reply(response, 200, `${text}\n`, "application/json");
}

function reply(response: ServerResponse, status: number, body: string, type = "text/plain"): void {
  response.writeHead(status, { "content-type": type, "x-content-type-options": "nosniff" });
  response.end(body);
}
