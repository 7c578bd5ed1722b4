/** Answers what it was given: who called, its environment, its files. On $LISTEN:$PORT; gRPC health on $HEALTH_PORT. */
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createHttp2 } from "node:http2";

const address = process.env.LISTEN ?? process.env.HOST ?? "0.0.0.0";
createServer((request, response) => {
  const url = new URL(request.url, "http://app");
  if (url.pathname === "/file") {
    response.end(readFileSync(url.searchParams.get("path"), "utf8"));
    return;
  }
  const identity = /URI=([^;,]+)/.exec(String(request.headers["x-forwarded-client-cert"] ?? ""))?.[1] ?? null;
  response.end(JSON.stringify({ identity, pid: process.pid, env: process.env }));
}).listen(Number(process.env.PORT ?? 8080), address);

// grpc.health.v1: SERVING is field 1 = 1.
const health = createHttp2();
health.on("stream", (stream) => {
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.end(Buffer.from([0, 0, 0, 0, 2, 8, 1]));
});
if (process.env.HEALTH_PORT) health.listen(Number(process.env.HEALTH_PORT), address);
process.on("SIGTERM", () => process.exit(0));
