import http from "node:http";
import { traced, traceparentOf } from "./tracing.js";

// The headers that an app must pass on, so that the hops of one request become one trace and policies can see the user.
const PASSED_ON = [
  "end-user",
  "x-request-id",
  "traceparent",
  "tracestate",
  "b3",
  "x-b3-traceid",
  "x-b3-spanid",
  "x-b3-parentspanid",
  "x-b3-sampled",
  "x-b3-flags",
];

export function passOn(req) {
  const headers = {};
  for (const name of PASSED_ON) {
    const value = req.headers[name];
    if (typeof value === "string") headers[name] = value;
  }
  const own = traceparentOf(req);
  if (own !== undefined) headers["traceparent"] = own;
  return headers;
}

/** Where a service is: by its name, or by NAME_HOSTNAME (as Istio's example has it). */
function addressOf(service) {
  const host = process.env[`${service.toUpperCase()}_HOSTNAME`] ?? service;
  return { host, port: Number(process.env[`${service.toUpperCase()}_SERVICE_PORT`] ?? 9080) };
}

/** Through HTTP_PROXY where there is one: Node does that by itself from version 24 on (NODE_USE_ENV_PROXY). */
function targetOf({ host, port }, path) {
  const proxy = process.env["HTTP_PROXY"];
  if (proxy === undefined || /^(127\.|localhost$)/.test(host)) return { host, port, path };
  const { hostname, port: proxyPort } = new URL(proxy);
  const url = `http://${host}:${port}${path}`;
  return { host: hostname, port: proxyPort, path: url, setHost: false, named: { host: `${host}:${port}` } };
}

/** GET of JSON from another service; status 0 = no answer in time. */
export function call(service, path, given, timeoutMs) {
  const { named, ...target } = targetOf(addressOf(service), path);
  const headers = { ...given, ...named };
  return new Promise((resolve) => {
    const failed = (error) => resolve({ status: 0, body: { error: error.message } });
    const req = http.get({ ...target, headers, timeout: timeoutMs }, (res) => {
      let text = "";
      res.setEncoding("utf8");
      res.on("data", (part) => {
        text += part;
      });
      res.on("end", () => resolve({ status: res.statusCode ?? 0, body: parse(text) }));
      res.on("error", failed);
    });
    req.on("timeout", () => req.destroy(new Error(`no answer from ${service} in ${timeoutMs} ms`)));
    req.on("error", failed);
  });
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return { error: text };
  }
}

export function json(res, status, body) {
  const text = JSON.stringify(body);
  res
    .writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) })
    .end(text);
}

/** Serves on $POD_IP:9080 until SIGTERM, then answers what it has begun and ends. */
export function serve(handler) {
  const server = http.createServer((req, res) => {
    if (req.url === "/health") json(res, 200, { status: "healthy" });
    else {
      traced(req, res);
      handler(req, res);
    }
  });
  // Longer than the idle time of the proxies in front: they close first, so no request meets a closing connection.
  server.keepAliveTimeout = 3_700_000;
  server.listen(Number(process.env["PORT"] ?? 9080), process.env["POD_IP"] ?? "0.0.0.0");
  process.on("SIGTERM", () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  });
}
