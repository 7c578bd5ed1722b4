/**
 * The backend of mesh tests: a real process-in-process server that says what it received. One port speaks HTTP/1.1
 * (any path answers JSON), WebSocket (frames come back as they went) and, on a second port, raw TCP (bytes come back).
 * `?status=503`, `?size=N`, `?delay=ms` and `?close=1` shape an answer, with `&on=echo-v1` only that of services whose
 * name begins so. `?digest=1` answers length and SHA-256 of the body instead of the body, `?trailers=1` ends in trailers,
 * `?chunked=N` answers in chunks of N bytes, `?pause=ms` begins to read the body later,
 * and `?refuse=401` answers an upgrade with that status. A request may carry `x-case: NAME`; `/.cases` answers how many
 * came with each name, and under `NAME cut` how many ended before their answer did.
 */
import { createHash } from "node:crypto";
import { createServer as createHttp, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createTcp, type Server, type Socket } from "node:net";

/** The JSON that an HTTP request gets back. Header names are lower case, repeated values joined with ", ". */
export interface Echoed {
  readonly service: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly trailers: Readonly<Record<string, string>>;
  /** From the last element of x-forwarded-client-cert: the caller's SPIFFE id, or null for plaintext. */
  readonly identity: string | null;
}

export interface Echo {
  readonly httpPort: number;
  readonly tcpPort: number;
  /** HTTP requests that arrived, counted before they are answered. */
  requests(): number;
  close(): Promise<void>;
}

const WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // RFC 6455 section 1.3

export interface EchoPlace {
  readonly address?: string;
  /** Default: any free port. */
  readonly httpPort?: number;
  readonly tcpPort?: number;
}

export async function startEcho(service: string, place: EchoPlace = {}): Promise<Echo> {
  const { address = "127.0.0.1", httpPort = 0, tcpPort = 0 } = place;
  let requests = 0;
  const cases = new Map<string, number>();
  const sockets = new Set<Socket>();
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket)).on("error", () => socket.destroy());
  };
  const http = createHttp((request, response) => {
    if (request.url === "/.cases") return void response.end(JSON.stringify(Object.fromEntries(cases)));
    requests++;
    const name = String(request.headers["x-case"] ?? "");
    cases.set(name, (cases.get(name) ?? 0) + 1);
    response.on("close", () => {
      if (!response.writableFinished) cases.set(`${name} cut`, (cases.get(`${name} cut`) ?? 0) + 1);
    });
    answer(service, request, response);
  });
  http.on("connection", keep);
  http.on("upgrade", (request, socket, head) => {
    const key = request.headers["sec-websocket-key"];
    const refuse = new URL(request.url ?? "/", "http://echo").searchParams.get("refuse");
    if (refuse !== null)
      return void socket.end(
        `HTTP/1.1 ${refuse} Refused\r\nContent-Length: 7\r\nConnection: close\r\n\r\nrefused`,
      );
    if (key === undefined) return void socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    const accept = createHash("sha1")
      .update(key + WEBSOCKET_GUID)
      .digest("base64");
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    if (head.length > 0) socket.write(unmask(head));
    socket.on("data", (frame) => socket.write(unmask(frame)));
    socket.on("end", () => socket.end());
  });
  const tcp = createTcp({ allowHalfOpen: true }, (socket) => {
    keep(socket);
    socket.pipe(socket);
  });
  const listen = (server: Server, port: number): Promise<void> =>
    new Promise((done, fail) => server.once("error", fail).listen(port, address, done));
  await Promise.all([listen(http, httpPort), listen(tcp, tcpPort)]);
  return {
    httpPort: (http.address() as AddressInfo).port,
    tcpPort: (tcp.address() as AddressInfo).port,
    requests: () => requests,
    async close() {
      for (const socket of sockets) socket.destroy();
      await Promise.all([http, tcp].map((server) => new Promise((done) => server.close(done))));
    },
  };
}

function answer(service: string, request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? "/", "http://echo");
  const chunks: Buffer[] = [];
  const shaped = service.startsWith(url.searchParams.get("on") ?? "");
  const asked = (name: string): number => (shaped ? Number(url.searchParams.get(name) ?? 0) : 0);
  const read = (): void => void request.on("data", (chunk: Buffer) => chunks.push(chunk));
  if (asked("pause") > 0) setTimeout(read, asked("pause"));
  else read();
  request.on("end", () => {
    const forwarded = String(request.headers["x-forwarded-client-cert"] ?? "");
    const echoed: Echoed = {
      service,
      method: request.method ?? "",
      path: request.url ?? "",
      headers: Object.fromEntries(
        Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
      ),
      body: asked("digest") > 0 ? digestOf(chunks) : Buffer.concat(chunks).toString("latin1"),
      trailers: request.trailers as Record<string, string>,
      identity: /URI=([^;,]+)[^,]*$/.exec(forwarded)?.[1] ?? null,
    };
    const size = asked("size");
    const send = (): void => {
      if (asked("close") > 0) return void request.socket.destroy();
      response.writeHead(asked("status") || 200, {
        "content-type": "application/json",
        "x-powered-by": service,
        ...(asked("trailers") > 0 ? { trailer: "x-after" } : {}),
      });
      if (asked("trailers") > 0) response.addTrailers({ "x-after": "1" });
      const body = size > 0 ? Buffer.alloc(size, "x") : Buffer.from(JSON.stringify(echoed));
      const step = asked("chunked");
      for (let at = 0; step > 0 && at < body.length; at += step) response.write(body.subarray(at, at + step));
      response.end(step > 0 ? undefined : body);
    };
    const delay = asked("delay");
    if (delay > 0) setTimeout(send, delay);
    else send();
  });
}

function digestOf(chunks: readonly Buffer[]): string {
  const hash = createHash("sha256");
  for (const chunk of chunks) hash.update(chunk);
  return `${chunks.reduce((sum, chunk) => sum + chunk.length, 0)} ${hash.digest("hex")}`;
}

/** A client frame (masked, RFC 6455 5.3) as the server frame with the same payload; small frames in one piece only. */
function unmask(frame: Buffer): Buffer {
  const length = frame[1]! & 0x7f;
  if (length > 125 || frame.length < 6 + length) return Buffer.from([0x88, 0]); // close: the test sent too much
  const payload = Buffer.alloc(length);
  for (let i = 0; i < length; i++) payload[i] = frame[6 + i]! ^ frame[2 + (i % 4)]!;
  return Buffer.concat([Buffer.from([frame[0]!, length]), payload]);
}
