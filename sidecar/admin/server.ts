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
      if (source.ready()) reply(response, 200, "LIVE\n");
      else reply(response, 503, "PRE_INITIALIZING\n");
      return;
    case "/server_info":
      json(response, source.serverInfo());
      return;
    case "/config_dump":
      json(response, source.configDump());
      return;
    case "/clusters":
      json(response, source.clusters());
      return;
    case "/listeners":
      json(response, source.listeners());
      return;
    case "/certs":
      json(response, source.certs());
      return;
    case "/stats":
      reply(response, 200, Array.from(source.stats(), ([name, value]) => `${name}: ${value}\n`).join(""));
      return;
    case "/stats/prometheus":
      reply(response, 200, source.prometheus(), "text/plain; version=0.0.4; charset=utf-8");
      return;
    case "/logging": {
      const level = url.searchParams.get("level") ?? "";
      if (isLogLevel(level)) {
        source.setLogLevel(level);
        reply(response, 200, "OK\n");
      } else reply(response, 400, `level "${level}" is not one of debug, info, warn, error, silent\n`);
      return;
    }
    case "/drain_listeners":
      source.drain();
      reply(response, 200, "OK\n");
      return;
    case "/quitquitquit":
      if (source.quit === null) {
        reply(response, 403, "off; it must be enabled in the configuration\n");
        return;
      }
      reply(response, 200, "OK\n");
      source.quit();
      return;
    default:
      reply(response, 404, "no such page\n");
      return;
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
