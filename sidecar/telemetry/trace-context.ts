import { randomBytes, randomUUID } from "node:crypto";

/** Where a request stands in its trace. Ids are lower-case hex: 32 and 16 digits. */
export interface TraceContext {
  readonly traceId: string;
  /** The span that the sender was in; "" at a root. */
  readonly parentSpanId: string;
  /** null: the sender left the decision to us. */
  readonly sampled: boolean | null;
  readonly state: string;
}

/** The part of a request head that is read here; null = absent. */
export interface TraceHeaders {
  get(lowerName: string): string | null;
}

const ZERO_TRACE = "0".repeat(32);
const ZERO_SPAN = "0".repeat(16);

/** W3C first, then B3 (single, then multi), as Envoy's OpenTelemetry tracer with Istio's propagators. */
export function readTraceContext(headers: TraceHeaders): TraceContext | null {
  const traceparent = headers.get("traceparent");
  if (traceparent !== null) {
    const context = parseTraceparent(traceparent, headers.get("tracestate") ?? "");
    if (context !== null) return context;
  }
  const single = headers.get("b3");
  if (single !== null) {
    const context = parseB3Single(single);
    if (context !== null) return context;
  }
  const traceId = headers.get("x-b3-traceid");
  if (traceId === null) return null;
  return parseB3Multi(
    traceId,
    headers.get("x-b3-spanid") ?? "",
    headers.get("x-b3-sampled") ?? "",
    headers.get("x-b3-flags") ?? "",
  );
}

/** B3 may bring the decision without a trace: `b3: 0`, `1` or `d` (debug), X-B3-Sampled, X-B3-Flags. null = none came. */
export function readDecision(headers: TraceHeaders): boolean | null {
  const single = headers.get("b3");
  if (single === "0") return false;
  if (single === "1" || single === "d" || headers.get("x-b3-flags") === "1") return true;
  const sampled = headers.get("x-b3-sampled");
  if (sampled === "1" || sampled === "true") return true;
  return sampled === "0" || sampled === "false" ? false : null;
}

/** https://www.w3.org/TR/trace-context/#traceparent-header; versions above 00 may carry more after a dash. */
export function parseTraceparent(value: string, state = ""): TraceContext | null {
  if (value.length < 55) return null;
  const match = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/.exec(value);
  if (match === null || match[1] === "ff") return null;
  if (match[1] === "00" && match[5] !== undefined) return null;
  const [, , traceId, parentSpanId, flags] = match as unknown as string[];
  if (traceId === ZERO_TRACE || parentSpanId === ZERO_SPAN) return null;
  return {
    traceId: traceId!,
    parentSpanId: parentSpanId!,
    sampled: (Number.parseInt(flags!, 16) & 1) === 1,
    // Longer than the 512 characters everyone must carry: dropped whole, as 3.3.1.5 allows.
    state: state.length <= 512 ? state : "",
  };
}

/** github.com/openzipkin/b3-propagation: `{trace}-{span}[-{sampled}[-{parent}]]`, or the decision alone. */
export function parseB3Single(value: string): TraceContext | null {
  if (value === "") return null;
  const match =
    /^([0-9a-fA-F]{16}|[0-9a-fA-F]{32})-([0-9a-fA-F]{16})(?:-([01d]))?(?:-[0-9a-fA-F]{16})?$/.exec(value);
  if (match === null) return null;
  return b3(match[1]!, match[2]!, match[3] === undefined ? null : match[3] !== "0");
}

/** X-B3-TraceId, -SpanId, -Sampled, -Flags, each "" where it is absent; null without a valid pair of ids. */
export function parseB3Multi(
  trace: string,
  span: string,
  sampled: string,
  flags: string,
): TraceContext | null {
  if (!/^([0-9a-fA-F]{16}|[0-9a-fA-F]{32})$/.test(trace) || !/^[0-9a-fA-F]{16}$/.test(span)) return null;
  const decision = flags === "1" ? true : sampled === "" ? null : sampled === "1" || sampled === "true";
  return b3(trace, span, decision);
}

function b3(trace: string, span: string, sampled: boolean | null): TraceContext | null {
  const traceId = trace.toLowerCase().padStart(32, "0");
  const parentSpanId = span.toLowerCase();
  if (traceId === ZERO_TRACE || parentSpanId === ZERO_SPAN) return null;
  return { traceId, parentSpanId, sampled, state: "" };
}

/** Version 00 (W3C Trace Context 3.2). */
export function writeTraceparent(traceId: string, spanId: string, sampled: boolean): string {
  return `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`;
}

export function writeB3Single(traceId: string, spanId: string, sampled: boolean): string {
  return `${traceId}-${spanId}-${sampled ? "1" : "0"}`;
}

// Random bytes in blocks: one randomBytes call per id costs more than the rest of a span (2.5 us against 0.3).
const POOL_BYTES = 8192;
let pool = Buffer.alloc(0);
let poolAt = POOL_BYTES;

function randomHex(bytes: number): string {
  if (poolAt + bytes > pool.length) {
    pool = randomBytes(POOL_BYTES);
    poolAt = 0;
  }
  const hex = pool.toString("hex", poolAt, poolAt + bytes);
  poolAt += bytes;
  return hex;
}

/** 32 hex digits. */
export function newTraceId(): string {
  return randomHex(16);
}
/** 16 hex digits. */
export function newSpanId(): string {
  return randomHex(8);
}

// Envoy marks in the version digit of the ids it makes why a request is traced (uuid request id extension): the next
// proxy, Envoy or not, decides alike even where an app loses the trace headers and keeps this one.
const MARK = 14;

/** A UUID for x-request-id: version 4, or Envoy's mark 9 for a request that sampling chose. */
export function newRequestId(sampled: boolean): string {
  const id = randomUUID();
  return sampled ? `${id.slice(0, MARK)}9${id.slice(MARK + 1)}` : id;
}

/** What the id says of sampling: chosen (9), forced by a service (a) or by a client (b). */
export function isMarkedSampled(requestId: string): boolean {
  if (requestId.length !== 36) return false;
  const mark = requestId.charCodeAt(MARK);
  return mark === 57 || mark === 97 || mark === 98;
}

/** 0 to 100, the same at every proxy that sees the id (Envoy: its first 32 bits modulo 10,000); random without one. */
export function samplePoint(requestId: string): number {
  const value = requestId === "" ? Number.NaN : Number.parseInt(requestId.slice(0, 8), 16);
  return Number.isNaN(value) ? Math.random() * 100 : (value % 10_000) / 100;
}
