/** One HTTP request of a mesh test, by default on a connection of its own, and its answer. */
import {
  type Agent,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  request,
} from "node:http";
import type { Echoed } from "./echo.ts";

export interface Call {
  readonly host: string;
  readonly port: number;
  readonly method?: string;
  readonly path?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Buffer;
  /** Where the connection comes from. */
  readonly localAddress?: string;
  /** Keeps connections between calls. */
  readonly agent?: Agent;
}

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** What the echo service received; undefined when something else answered. */
  readonly echoed: Echoed | undefined;
  /** The client's port: the same for requests on one connection. */
  readonly localPort: number;
}

export function call({ body, agent, ...options }: Call): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const sent = request({ ...options, agent: agent ?? false });
    sent.on("response", (response) => void replyOf(response).then(resolve, reject));
    sent.on("error", reject);
    sent.end(body);
  });
}

export async function replyOf(response: IncomingMessage): Promise<Reply> {
  const localPort = response.socket.localPort ?? 0;
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks).toString("latin1");
  const echoed = body.startsWith('{"service"') ? (JSON.parse(body) as Echoed) : undefined;
  return { status: response.statusCode ?? 0, headers: response.headers, body, echoed, localPort };
}
