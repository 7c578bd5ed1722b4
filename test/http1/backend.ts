/** A backend that logs every byte and reads requests strictly, by a reader of its own. */
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";

export interface SeenRequest {
  readonly method: string;
  readonly target: string;
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly body: string;
}

const HEAD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP\/1\.1\r\n((?:[^\r\n]+\r\n)*)\r\n/;
const FIELD =
  /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)[ \t]*$/;

/** One request and how many bytes it took, null = more is needed. Throws on anything that is not strictly valid. */
function readRequest(text: string): { request: SeenRequest; bytes: number } | null {
  if (!text.includes("\r\n\r\n")) return null;
  const head = HEAD.exec(text);
  if (head === null) throw new Error(`not a request head: ${JSON.stringify(text.slice(0, 200))}`);
  const [all, method, target, lines] = head as unknown as [string, string, string, string];
  const fields = lines
    .split("\r\n")
    .slice(0, -1)
    .map((line) => {
      const field = FIELD.exec(line);
      if (field === null) throw new Error(`not a field: ${JSON.stringify(line)}`);
      return [field[1]!.toLowerCase(), field[2]!] as const;
    });
  const values = (name: string): string[] => fields.filter(([n]) => n === name).map(([, value]) => value);
  if (values("host").length !== 1) throw new Error(`${values("host").length} Host fields`);
  const lengths = values("content-length");
  const codings = values("transfer-encoding");
  if (lengths.length + codings.length > 1) throw new Error("more than one framing field");
  if (codings.length === 1) {
    if (codings[0] !== "chunked") throw new Error(`transfer-encoding ${codings[0]}`);
    let body = "";
    for (let at = all.length; ; ) {
      const line = /^(0|[1-9a-f][0-9a-f]*)\r\n/.exec(text.slice(at, at + 20));
      if (line === null) {
        if (text.length - at < 18 && /^[0-9a-f]*\r?$/.test(text.slice(at))) return null;
        throw new Error(`not a chunk size: ${JSON.stringify(text.slice(at, at + 20))}`);
      }
      const size = Number.parseInt(line[1]!, 16);
      const end = at + line[0].length + size;
      if (text.length < end + 2) return null;
      if (text.slice(end, end + 2) !== "\r\n") throw new Error("no CRLF after chunk data");
      body += text.slice(at + line[0].length, end);
      at = end + 2;
      if (size === 0) return { request: { method, target, fields, body }, bytes: at };
    }
  }
  if (lengths.length === 1 && !/^(0|[1-9]\d*)$/.test(lengths[0]!))
    throw new Error(`content-length ${lengths[0]}`);
  const end = all.length + Number(lengths[0] ?? 0);
  if (text.length < end) return null;
  return { request: { method, target, fields, body: text.slice(all.length, end) }, bytes: end };
}

export interface Connection {
  readonly socket: Socket;
  log: string;
  /** Bytes that are not a whole request yet. */
  rest: string;
  /** How the peer ended it: "" while open. */
  end: "" | "fin" | "reset" | "closed";
}

export class Backend {
  readonly requests: SeenRequest[] = [];
  readonly connections: Connection[] = [];
  readonly faults: string[] = [];
  port = 0;
  /** Answers a request; the default is an empty 200. */
  reply: (request: SeenRequest, connection: Connection) => void = (_request, { socket }) =>
    void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  /** Sees raw bytes before they are read as requests; true = handled. */
  raw: ((connection: Connection) => boolean) | null = null;
  readonly #server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));

  async listen(): Promise<this> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.port = (this.#server.address() as AddressInfo).port;
    return this;
  }

  reset(): void {
    this.requests.length = 0;
    this.faults.length = 0;
    for (const connection of this.connections) connection.log = "";
    this.connections.length = 0;
    this.raw = null;
  }

  get bytes(): string {
    return this.connections.map(({ log }) => log).join("");
  }

  #accept(socket: Socket): void {
    const connection: Connection = { socket, log: "", rest: "", end: "" };
    this.connections.push(connection);
    socket.on("data", (data: Buffer) => {
      const text = data.toString("latin1");
      connection.log += text;
      connection.rest += text;
      if (!this.connections.includes(connection)) this.connections.push(connection); // after a reset()
      if (this.raw?.(connection) === true) return;
      try {
        for (;;) {
          const found = readRequest(connection.rest);
          if (found === null) break;
          connection.rest = connection.rest.slice(found.bytes);
          this.requests.push(found.request);
          this.reply(found.request, connection);
        }
      } catch (error) {
        this.faults.push((error as Error).message);
        socket.destroy();
      }
    });
    socket.on("end", () => {
      connection.end = "fin";
      socket.end();
    });
    socket.on("error", () => {
      connection.end = "reset";
    });
    socket.on("close", () => {
      if (connection.end === "") connection.end = "closed";
    });
  }

  close(): void {
    this.#server.close();
    for (const { socket } of this.connections) socket.destroy();
  }
}
