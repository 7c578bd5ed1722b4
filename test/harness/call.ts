/** One HTTP request of a mesh test, each on a connection of its own, and its answer. */
import { type IncomingHttpHeaders, type OutgoingHttpHeaders, request } from "node:http";
import type { Echoed } from "./echo.ts";

export interface Call {
  readonly host: string;
  readonly port: number;
  readonly method?: string;
  readonly path?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Buffer;
}

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** What the echo service received; undefined when something else answered. */
  readonly echoed: Echoed | undefined;
}

export function call({ host, port, method = "GET", path = "/", headers = {}, body }: Call): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const sent = request({ host, port, method, path, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const text = Buffer.concat(chunks).toString("latin1");
        const echoed = text.startsWith('{"service"') ? (JSON.parse(text) as Echoed) : undefined;
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text, echoed });
      });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}
