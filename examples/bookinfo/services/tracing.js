/**
 * The spans of the application itself, between those of its proxies: OTLP/JSON by hand, because these programs start
 * in a moment and a tracing SDK does not. Nothing is sent where no receiver is named.
 */
import { randomBytes } from "node:crypto";
import http from "node:http";
import { basename } from "node:path";

const SERVICE = process.env["OTEL_SERVICE_NAME"] ?? basename(process.argv[1] ?? "app", ".js");
const SOCKET = process.env["WEFT_OTLP_SOCKET"];
const ENDPOINT = process.env["OTEL_EXPORTER_OTLP_ENDPOINT"];
const FLUSH_MS = 500;
const MOST = 1000;

const spans = new WeakMap();
let finished = [];
let timer = null;

/** The span of a request that its sender traces; ended with the response. */
export function traced(req, res) {
  const [, traceId, parentSpanId] =
    /^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f][13579bdf]$/.exec(String(req.headers["traceparent"])) ?? [];
  if (traceId === undefined || parentSpanId === undefined) return;
  if (SOCKET === undefined && ENDPOINT === undefined) return;
  const path = (req.url ?? "/").split("?")[0];
  const span = {
    traceId,
    spanId: randomBytes(8).toString("hex"),
    parentSpanId,
    name: `${req.method} ${path}`,
    startMs: now(),
  };
  spans.set(req, span);
  // An answer that is written out is done, whenever its connection is; one that is cut off has only its close.
  const once = () => {
    res.off("finish", once).off("close", once);
    end(span, req, res.statusCode);
  };
  res.once("finish", once).once("close", once);
}

/** The traceparent for calls made on behalf of the request; undefined where it is not traced here. */
export function traceparentOf(req) {
  const span = spans.get(req);
  return span === undefined ? undefined : `00-${span.traceId}-${span.spanId}-01`;
}

const now = () => performance.timeOrigin + performance.now();
const nanos = (ms) => String(BigInt(Math.round(ms * 1000)) * 1000n);

function end(span, req, status) {
  const { startMs, ...ids } = span;
  if (finished.length >= MOST) return;
  finished.push({
    ...ids,
    kind: 2, // SERVER
    startTimeUnixNano: nanos(startMs),
    endTimeUnixNano: nanos(now()),
    attributes: [
      { key: "http.request.method", value: { stringValue: req.method } },
      { key: "http.response.status_code", value: { intValue: String(status) } },
    ],
    status: { code: status >= 500 ? 2 : 0 },
  });
  if (timer === null) timer = setTimeout(flush, FLUSH_MS).unref();
}

function flush() {
  timer = null;
  const body = JSON.stringify({
    resourceSpans: [
      {
        resource: { attributes: [{ key: "service.name", value: { stringValue: SERVICE } }] },
        scopeSpans: [{ scope: { name: "bookinfo" }, spans: finished }],
      },
    ],
  });
  finished = [];
  const url = new URL("v1/traces", `${(ENDPOINT ?? "http://weft").replace(/\/+$/, "")}/`);
  const where = ENDPOINT === undefined && SOCKET !== undefined ? { socketPath: SOCKET } : {};
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  const call = http.request(url, { ...where, method: "POST", headers, timeout: 5000, agent: false }, (res) =>
    res.resume(),
  );
  // Spans are worth a try, not a failure.
  call.on("error", () => {});
  call.on("timeout", () => call.destroy());
  call.end(body);
}
