/** Records of the hot path as OpenTelemetry spans, with the names, attributes and status that Envoy's tracer gives them. */
import { type Attributes, type HrTime, SpanKind, SpanStatusCode, TraceFlags } from "@opentelemetry/api";
import { type Resource, resourceFromAttributes } from "@opentelemetry/resources";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";
import type { Tracing } from "../snapshot.ts";
import type { RequestRecord } from "./record.ts";

const SCOPE = { name: "weft" };
const resources = new Map<string, Resource>();

/** `nodeId` and `zone` become attributes of the span, as Envoy's tracer sets them. */
export function toReadableSpan(record: RequestRecord, nodeId: string, zone: string): ReadableSpan {
  const { plan, traceId, spanId, parentSpanId, status } = record;
  const tracing = plan!.tracing!;
  const inbound = plan!.inbound;
  const context = (id: string) => ({ traceId, spanId: id, traceFlags: TraceFlags.SAMPLED });
  // OpenTelemetry's HTTP conventions: 4xx is the client's error, and none of the server's.
  const failed = status === 0 || status >= (inbound ? 500 : 400);
  return {
    name: record.spanName,
    kind: inbound ? SpanKind.SERVER : SpanKind.CLIENT,
    spanContext: () => context(spanId),
    ...(parentSpanId === "" ? {} : { parentSpanContext: { ...context(parentSpanId), isRemote: true } }),
    startTime: hrTime(record.startMs),
    endTime: hrTime(record.startMs + record.durationMs),
    duration: hrTime(record.durationMs),
    status: { code: failed ? SpanStatusCode.ERROR : SpanStatusCode.UNSET },
    attributes: attributes(record, tracing, nodeId, zone),
    links: [],
    events: [],
    ended: true,
    resource: resourceOf(tracing.serviceName),
    instrumentationScope: SCOPE,
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
  };
}

function attributes(r: RequestRecord, tracing: Tracing, nodeId: string, zone: string): Attributes {
  const found: Attributes = {
    node_id: nodeId,
    zone,
    "guid:x-request-id": r.requestId,
    "http.url": `${r.scheme}://${r.authority}${r.path}`,
    "http.method": r.method,
    downstream_cluster: "-",
    user_agent: r.userAgent || "-",
    "http.protocol": r.protocol,
    "peer.address": r.facts.sourceAddress,
    request_size: String(r.bytesReceived),
    response_size: String(r.bytesSent),
    component: "proxy",
    "http.status_code": String(r.status),
    response_flags: r.flag,
  };
  if (r.cluster !== "") {
    found["upstream_cluster"] = r.cluster;
    found["upstream_cluster.name"] = `${r.cluster};`;
  }
  if (r.status === 0 || r.status >= 500) found["error"] = "true";
  let header = 0;
  for (const { tag, literal, requestHeader, environment, defaultValue } of tracing.customTags) {
    const given =
      requestHeader !== null ? r.tags[header++] : environment !== null ? process.env[environment] : literal;
    const value = given || defaultValue;
    if (value !== "") found[tag] = value;
  }
  return found;
}

function resourceOf(serviceName: string): Resource {
  let resource = resources.get(serviceName);
  if (resource === undefined) {
    resource = resourceFromAttributes({ "service.name": serviceName });
    resources.set(serviceName, resource);
  }
  return resource;
}

function hrTime(ms: number): HrTime {
  const seconds = Math.floor(ms / 1000);
  return [seconds, Math.round((ms - seconds * 1000) * 1e6)];
}
