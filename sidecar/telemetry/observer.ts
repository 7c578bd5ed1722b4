// hot path
/** What the process tells of its traffic: request ids, trace context, Istio's metrics, spans and access log lines. */
import type { RequestObserver, RequestState } from "../http/request-state.ts";
import { Verdict } from "../http1/errors.ts";
import type { Exchange } from "../http1/exchange.ts";
import type { RequestHead } from "../http1/request-head.ts";
import type { ResponseHead } from "../http1/response-head.ts";
import type { HeadEdits } from "../http1/write-head.ts";
import type { Accepted } from "../inbound.ts";
import type { HeadView, HttpConfig, Listener, Tracing } from "../snapshot.ts";
import type { LogSinks } from "./log-sinks.ts";
import { HttpPlan, type LogPlan } from "./plan.ts";
import { RequestRecord } from "./record.ts";
import type { RequestMetrics } from "./request-metrics.ts";
import type { SpanBuffer } from "./spans.ts";
import {
  isMarkedSampled,
  newRequestId,
  newSpanId,
  newTraceId,
  readDecision,
  readTraceContext,
  samplePoint,
  type TraceContext,
  writeB3Single,
  writeTraceparent,
} from "./trace-context.ts";

/** Envoy's response flag of an exchange that ended badly, where the handler did not say. */
const FLAGS: readonly string[] = Object.values(Verdict).map(flagOfVerdict);

export class Telemetry implements RequestObserver {
  readonly #metrics: RequestMetrics;
  readonly #spans: SpanBuffer;
  readonly #sinks: LogSinks;
  readonly #plans = new WeakMap<HttpConfig, HttpPlan>(); // cold: once per process
  #lastConfig: HttpConfig | null = null;
  #lastPlan: HttpPlan | null = null;

  constructor(metrics: RequestMetrics, spans: SpanBuffer, sinks: LogSinks) {
    this.#metrics = metrics;
    this.#spans = spans;
    this.#sinks = sinks;
  }

  onHead(exchange: Exchange, state: RequestState, accepted: Accepted): void {
    const { request } = exchange;
    const plan = this.#planOf(state.config, accepted.listener);
    const { tracing } = plan;
    const edits = exchange.requestEdits!;
    const given = request.get("x-request-id");
    let id = plan.replacesRequestId || given === null ? "" : given;
    const context = tracing === null ? null : readTraceContext(request);
    let sampled = false;
    let decided: boolean | null = null;
    if (tracing !== null) {
      decided = context === null ? readDecision(request) : context.sampled;
      sampled = decided ?? this.#samples(tracing, id, request);
    }
    if (id === "" && plan.makesRequestId) {
      id = newRequestId(sampled);
      if (given === null) edits.add("x-request-id", id);
      else edits.set("x-request-id", id);
    }
    if (!sampled) {
      // A decision against that came with the request is passed on as it came.
      if (tracing !== null && decided !== false)
        writeContext(request, edits, context, context?.traceId ?? newTraceId(), newSpanId(), false);
      if (plan.logs.length > 0) state.trace = this.#record(plan, exchange, accepted, id);
      return;
    }
    const record = this.#record(plan, exchange, accepted, id);
    state.trace = record;
    record.traceId = context === null ? newTraceId() : context.traceId;
    record.parentSpanId = context === null ? "" : context.parentSpanId;
    record.spanId = newSpanId();
    record.spanName = state.route?.decorator ?? (plan.inbound ? "ingress" : `egress ${request.authority}`);
    if (plan.tagHeaders.length > 0) record.tags = valuesOf(request, plan.tagHeaders);
    writeContext(request, edits, context, record.traceId, record.spanId, true);
  }

  onResponseHead(exchange: Exchange, state: RequestState, head: ResponseHead): void {
    const record = state.trace as RequestRecord;
    record.upstreamMs = performance.now() - exchange.startMs;
    const names = record.plan!.responseHeaders;
    if (record.plan!.logs.length > 0) record.upstreamLocal = exchange.upstreamLocalAddress;
    if (names.length > 0) record.responseValues = valuesOf(head, names);
  }

  onEnd(exchange: Exchange, state: RequestState | null, accepted: Accepted): void {
    const durationMs = performance.now() - exchange.startMs;
    const flag = flagOf(exchange, state);
    this.#metrics
      .http(accepted, state === null ? null : state.cluster, state === null ? null : state.host)
      .of(exchange.status, flag)
      .record(durationMs, exchange.bytesReceived, exchange.bytesSent);
    let record = state === null ? null : (state.trace as RequestRecord | null);
    if (record === null) {
      const { terminal } = accepted.chain;
      if (state !== null && this.#lastConfig === state.config && this.#lastPlan!.logs.length === 0) return;
      if (terminal.kind !== "http") return;
      const plan = this.#planOf(state === null ? terminal : state.config, accepted.listener);
      if (plan.logs.length === 0) return;
      record = this.#record(plan, exchange, accepted, "");
    }
    record.durationMs = durationMs;
    record.status = exchange.status;
    record.flag = flag;
    record.detail = exchange.detail;
    record.bytesReceived = exchange.bytesReceived;
    record.bytesSent = exchange.bytesSent;
    if (state !== null) {
      record.cluster = state.cluster === null ? "" : state.cluster.name;
      record.host = state.host;
      record.route = state.route === null ? "" : state.route.name;
    }
    writeLogs(record.plan!.logs, record, exchange.request);
    if (record.spanId !== "") this.#spans.push(record);
  }

  #planOf(config: HttpConfig, listener: Listener): HttpPlan {
    if (this.#lastConfig === config) return this.#lastPlan!;
    let plan = this.#plans.get(config);
    if (plan === undefined) {
      plan = new HttpPlan(config, listener, this.#sinks);
      this.#plans.set(config, plan);
    }
    this.#lastConfig = config;
    this.#lastPlan = plan;
    return plan;
  }

  #record(plan: HttpPlan, exchange: Exchange, accepted: Accepted, id: string): RequestRecord {
    const { request } = exchange;
    const record = new RequestRecord(plan, accepted.facts, performance.timeOrigin + exchange.startMs);
    record.method = request.method;
    record.path = request.path;
    record.authority = request.authority;
    record.scheme = request.get("x-forwarded-proto") ?? (accepted.chain.tls === null ? "http" : "https");
    record.protocol = request.minor === 0 ? "HTTP/1.0" : "HTTP/1.1";
    record.requestId = id;
    record.userAgent = request.get("user-agent") ?? "";
    return record;
  }

  /** A root's decision, or that of a request whose sender left it to us. */
  #samples(tracing: Tracing, requestId: string, request: RequestHead): boolean {
    if (isMarkedSampled(requestId)) return true;
    const percent = request.has("x-client-trace-id") ? tracing.clientSampling : tracing.randomSampling;
    if (percent <= 0 || samplePoint(requestId) >= percent) return false;
    return tracing.overallSampling >= 100 || Math.random() * 100 < tracing.overallSampling;
  }
}

/** Each log whose filter takes the record's response flag. */
export function writeLogs(logs: readonly LogPlan[], record: RequestRecord, head: HeadView | null): void {
  for (let i = 0; i < logs.length; i++) {
    const { write, buffer, onlyFlags } = logs[i]!;
    if (
      onlyFlags !== null &&
      !(onlyFlags.length === 0 ? record.flag !== "-" : onlyFlags.includes(record.flag))
    )
      continue;
    buffer.push(write(record, head));
  }
}

function valuesOf(head: RequestHead | ResponseHead, names: readonly string[]): (string | null)[] {
  const values: (string | null)[] = [];
  for (let i = 0; i < names.length; i++) values.push(head.get(names[i]!));
  return values;
}

/** W3C always; B3 too, in the form it came in: an app that passes on only that stays in the trace. */
function writeContext(
  request: RequestHead,
  edits: HeadEdits,
  context: TraceContext | null,
  traceId: string,
  spanId: string,
  sampled: boolean,
): void {
  const traceparent = writeTraceparent(traceId, spanId, sampled);
  if (request.has("traceparent")) edits.set("traceparent", traceparent);
  else edits.add("traceparent", traceparent);
  // State of a context that could not be read belongs to no trace (trace-context 3.3).
  if (context === null && request.has("tracestate")) edits.remove("tracestate");
  // Who speaks B3 gets B3, also who brought no more than a decision.
  if (request.has("b3")) edits.set("b3", writeB3Single(traceId, spanId, sampled));
  if (!request.has("x-b3-traceid") && !request.has("x-b3-sampled") && !request.has("x-b3-flags")) return;
  edits.set("x-b3-traceid", traceId);
  edits.set("x-b3-spanid", spanId);
  edits.set("x-b3-sampled", sampled ? "1" : "0");
  edits.remove("x-b3-parentspanid");
  edits.remove("x-b3-flags");
  if (context !== null && context.parentSpanId !== "") edits.add("x-b3-parentspanid", context.parentSpanId);
}

function flagOf(exchange: Exchange, state: RequestState | null): string {
  if (exchange.verdict === Verdict.DownstreamGone) return "DC";
  // What an attempt before this answer died of is no part of it.
  if (exchange.detail === "via_upstream") return "-";
  if (exchange.verdict >= Verdict.StreamIdle) return FLAGS[exchange.verdict]!;
  if (state !== null && state.flag !== "-") return state.flag;
  return exchange.verdict === Verdict.Ok ? "-" : FLAGS[exchange.verdict]!;
}

function flagOfVerdict(verdict: Verdict): string {
  switch (verdict) {
    case Verdict.Ok:
    case Verdict.NeedMore:
    case Verdict.HeadTimeout:
    case Verdict.RequestTimeout:
    case Verdict.MaxStreamDuration:
      return "-";
    case Verdict.StreamIdle:
      return "SI";
    case Verdict.ConnectFailure:
      return "UF";
    case Verdict.UpstreamReset:
      return "UC";
    case Verdict.ResponseTimeout:
      return "UT";
    case Verdict.BadResponse:
      return "UPE";
    case Verdict.DownstreamGone:
      return "DC";
    default:
      return "DPE";
  }
}
