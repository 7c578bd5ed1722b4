import { spawn } from "node:child_process";
import { request } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import type { Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import type { HttpAction, ProbeAction } from "./container-spec.ts";
import type { PodNetwork } from "./network/network.ts";

export interface ProbeTarget {
  readonly network: PodNetwork;
  /** Where the app listens. */
  readonly address: string;
  /** Runs a command in the container; resolves with its exit code and the end of what it said. */
  readonly exec: (command: readonly string[], timeoutMs: number) => Promise<{ code: number; said: string }>;
}

/** `fault` undefined = success. `note`: it succeeded, but not as was meant. */
export interface Verdict {
  readonly fault?: string;
  readonly note?: string;
}
const SUCCESS: Verdict = {};

/** One attempt. Never throws. */
export async function act(action: ProbeAction, target: ProbeTarget, timeoutMs: number): Promise<Verdict> {
  if (action.kind === "exec") {
    const { code, said } = await target.exec(action.command, timeoutMs);
    return code === 0
      ? SUCCESS
      : { fault: `${say(action.command)}: exit code ${code}${said && `: ${said}`}` };
  }
  const timer = Promise.withResolvers<Verdict>();
  const sockets = new Sockets(target.network);
  const timeout = setTimeout(
    () =>
      timer.resolve({
        fault: `${nameOf(action)}: no ${action.kind === "tcp" ? "connection" : "answer"} in ${timeoutMs} ms`,
      }),
    timeoutMs,
  );
  try {
    return await Promise.race([attempt(action, target, sockets), timer.promise]);
  } catch (error) {
    return { fault: `${nameOf(action)}: ${(error as Error).message}` };
  } finally {
    clearTimeout(timeout);
    sockets.close();
  }
}

function nameOf(action: ProbeAction): string {
  switch (action.kind) {
    case "http":
      return `GET ${action.scheme === "https" ? "https://" : ""}${action.host ?? ""}${action.scheme === "https" || action.host !== undefined ? `:${action.port}` : ""}${action.path}`;
    case "tcp":
      return `connect to port ${action.port}`;
    case "grpc":
      return `grpc.health.v1 on port ${action.port}`;
    case "exec":
      return say(action.command);
  }
}

const say = (command: readonly string[]): string => {
  const text = command.join(" ");
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
};

/** All that one attempt opened, so that a late connection is not left behind. */
class Sockets {
  readonly #network: PodNetwork;
  readonly #open: Socket[] = [];
  #closed = false;

  constructor(network: PodNetwork) {
    this.#network = network;
  }
  async connect(port: number, host: string | undefined): Promise<Socket> {
    const socket = await this.#network.probe(port, host);
    socket.on("error", () => {});
    if (this.#closed) socket.destroy();
    this.#open.push(socket);
    return socket;
  }
  close(): void {
    this.#closed = true;
    for (const socket of this.#open) socket.destroy();
  }
}

async function attempt(
  action: Exclude<ProbeAction, { kind: "exec" }>,
  { address }: ProbeTarget,
  sockets: Sockets,
): Promise<Verdict> {
  switch (action.kind) {
    case "tcp":
      await sockets.connect(action.port, action.host);
      return SUCCESS;
    case "http":
      return http(action, address, sockets);
    case "grpc":
      return grpc(action.port, action.service, address, sockets);
  }
}

/** As net/http of the kubelet's prober. */
const MOST_REDIRECTS = 10;

/**
 * 200 to 399 is success. A redirect to the same host is followed, one that leads elsewhere counts as success with a note
 * (kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/#http-probes).
 */
async function http(action: HttpAction, address: string, sockets: Sockets): Promise<Verdict> {
  const host = action.host ?? address;
  let url = new URL(`${action.scheme}://${host.includes(":") ? `[${host}]` : host}:${action.port}/`);
  url = new URL(action.path.startsWith("/") ? action.path : `/${action.path}`, url);
  const first = url;
  for (let n = 0; ; n++) {
    const { status, location } = await get(url, action, sockets);
    const what = n === 0 ? nameOf(action) : `${nameOf(action)} redirected to ${url.pathname}, which`;
    if (status < 200 || status >= 400) return { fault: `${what} answered ${status}` };
    const redirect = [301, 302, 303, 307, 308].includes(status) && location !== undefined;
    if (!redirect) return SUCCESS;
    const next = URL.parse(location, url.href);
    if (next === null || !/^https?:$/.test(next.protocol) || next.hostname !== first.hostname)
      return { note: `${what} is redirected to ${location}, another host: not followed, counted as success` };
    if (n === MOST_REDIRECTS) return { fault: `${nameOf(action)}: more than ${MOST_REDIRECTS} redirects` };
    url = next;
  }
}

async function get(
  url: URL,
  action: HttpAction,
  sockets: Sockets,
): Promise<{ status: number; location: string | undefined }> {
  const port = Number(url.port) || (url.protocol === "https:" ? 443 : 80);
  const plain = await sockets.connect(port, action.host);
  // Certificates of probes are not checked, as a kubelet does not.
  const socket = url.protocol === "https:" ? await handshake(plain) : plain;
  return new Promise((resolve, reject) => {
    const headers = { "user-agent": "kube-probe/1.34 (weft)", accept: "*/*", ...lowerCase(action.headers) };
    const path = `${url.pathname}${url.search}`;
    const host = url.hostname;
    const req = request({ host, port, path, headers, createConnection: () => socket }, (res) => {
      res.on("error", () => {});
      res.resume();
      resolve({ status: res.statusCode ?? 0, location: res.headers.location });
    });
    // Through the relay it comes paused.
    req.on("socket", () => socket.resume());
    req.on("error", reject);
    req.end();
  });
}

function lowerCase(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}

function handshake(socket: Socket): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const secure = connectTls({ socket, rejectUnauthorized: false });
    secure.once("secureConnect", () => resolve(secure));
    secure.on("error", reject);
    socket.once("close", () => reject(new Error("the connection was closed during the TLS handshake")));
  });
}

/** grpc.health.v1.Health/Check (github.com/grpc/grpc/blob/master/doc/health-checking.md): one call, without TLS. */
async function grpc(port: number, service: string, address: string, sockets: Sockets): Promise<Verdict> {
  const socket = await sockets.connect(port, undefined);
  const session = connectHttp2(`http://${address}:${port}`, { createConnection: () => socket });
  try {
    return await new Promise<Verdict>((resolve, reject) => {
      session.on("error", reject);
      socket.resume();
      const call = session.request({
        ":method": "POST",
        ":path": "/grpc.health.v1.Health/Check",
        "content-type": "application/grpc",
        "user-agent": "kube-probe/1.34 (weft)",
        te: "trailers",
      });
      const answer: Buffer[] = [];
      let status: string | undefined;
      const hear = (headers: Record<string, unknown>): void => {
        status = headers["grpc-status"] === undefined ? status : String(headers["grpc-status"]);
        if (headers[":status"] !== undefined && headers[":status"] !== 200)
          resolve({ fault: `grpc.health.v1 on port ${port} answered HTTP ${String(headers[":status"])}` });
      };
      call.on("response", hear);
      call.on("trailers", hear);
      call.on("data", (piece: Buffer) => answer.push(piece));
      call.on("error", reject);
      call.on("end", () => resolve(health(port, service, status, Buffer.concat(answer))));
      call.end(frame(service));
    });
  } finally {
    session.destroy();
  }
}

/** HealthCheckRequest has one field, `service` = 1, a string; before it the five bytes of gRPC's length prefix. */
function frame(service: string): Buffer {
  const name = Buffer.from(service);
  const message =
    name.length === 0 ? name : Buffer.concat([Buffer.from([0x0a, ...varint(name.length)]), name]);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function varint(n: number): number[] {
  return n < 128 ? [n] : [(n & 127) | 128, ...varint(n >> 7)];
}

const UNIMPLEMENTED = "12";
const NOT_FOUND = "5";
/** HealthCheckResponse.ServingStatus */
const SERVING = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

function health(port: number, service: string, status: string | undefined, answer: Buffer): Verdict {
  const what = `grpc.health.v1 on port ${port}`;
  if (status === UNIMPLEMENTED) return { fault: `${what}: the server does not implement the health service` };
  if (status === NOT_FOUND) return { fault: `${what}: unknown service ${JSON.stringify(service)}` };
  if (status !== "0") return { fault: `${what}: gRPC status ${status ?? "none"}` };
  // Field 1, an enum; absent = UNKNOWN.
  const state = SERVING[answer[5] === 0x08 ? (answer[6] ?? 0) : 0] ?? "UNKNOWN";
  return state === "SERVING" ? SUCCESS : { fault: `${what}: ${state}` };
}

const MOST_SAID = 200;

/** Runs a program to its end; code 124 after `timeoutMs`, as timeout(1). */
export function run(
  command: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>>,
  timeoutMs: number,
): Promise<{ code: number; said: string }> {
  return new Promise((resolve) => {
    const [file = "", ...args] = command;
    let said = "";
    const child = spawn(file, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
    const hear = (piece: Buffer): void => {
      said = (said + piece.toString()).slice(-MOST_SAID);
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    const done = (code: number, why = ""): void => {
      clearTimeout(timer);
      if (child.pid !== undefined) endGroup(child.pid);
      resolve({ code, said: why || said.trim().split("\n").at(-1) || "" });
    };
    const timer = setTimeout(() => done(124, `no end in ${timeoutMs} ms`), timeoutMs);
    child.once("error", (error) => done(127, error.message));
    child.once("exit", (code) => done(code ?? 137));
  });
}

function endGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // Nothing is left of it.
  }
}
