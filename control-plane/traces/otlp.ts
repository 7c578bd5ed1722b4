/** OTLP trace export requests (opentelemetry.io/docs/specs/otlp) -> spans: protobuf, and JSON with ids in hex. */
import { fromBinary, fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import {
  type AnyValue,
  AnyValueSchema,
  type KeyValue,
} from "#xds/gen/opentelemetry/proto/common/v1/common_pb.js";
import {
  Span_SpanKind,
  Status_StatusCode,
  type TracesData,
  TracesDataSchema,
  type Span as WireSpan,
} from "#xds/gen/opentelemetry/proto/trace/v1/trace_pb.js";
import type { AttributeValue, Span, SpanKind } from "./span.ts";

export interface Decoded {
  readonly spans: readonly Span[];
  /** One line per span that cannot be kept. */
  readonly refused: readonly string[];
}

/** ExportTraceServiceRequest and TracesData are the same on the wire. Throws on bytes that are neither. */
export function decodeProtobuf(body: Uint8Array): Decoded {
  return spansOf(fromBinary(TracesDataSchema, body));
}

/** Throws on text that is no OTLP/JSON; unknown fields are ignored, as the specification demands. */
export function decodeJson(text: string): Decoded {
  const value = JSON.parse(text, hexToBase64) as JsonValue;
  return spansOf(fromJson(TracesDataSchema, value, { ignoreUnknownFields: true }));
}

const ID_KEYS: ReadonlySet<string> = new Set([
  "traceId",
  "spanId",
  "parentSpanId",
  "trace_id",
  "span_id",
  "parent_span_id",
]);

/** Protobuf's own JSON has bytes in base64; OTLP writes these ids in hex. */
function hexToBase64(key: string, value: unknown): unknown {
  if (!ID_KEYS.has(key) || typeof value !== "string") return value;
  if (!/^(?:[0-9a-fA-F]{2})*$/.test(value)) throw new Error(`${key} ${JSON.stringify(value)} is not hex`);
  return Buffer.from(value, "hex").toString("base64");
}

function spansOf(data: TracesData): Decoded {
  const spans: Span[] = [];
  const refused: string[] = [];
  for (const group of data.resourceSpans) {
    const named = group.resource?.attributes.find((a) => a.key === "service.name");
    const service = String(named === undefined ? "unknown" : plain(named.value));
    for (const scope of group.scopeSpans) {
      for (const wire of scope.spans) {
        const problem = problemOf(wire);
        if (problem === undefined) spans.push(spanOf(wire, service));
        else refused.push(`span ${JSON.stringify(wire.name)}: ${problem}`);
      }
    }
  }
  return { spans, refused };
}

function problemOf(wire: WireSpan): string | undefined {
  const isId = (id: Uint8Array, length: number) => id.length === length && id.some((byte) => byte !== 0);
  if (!isId(wire.traceId, 16)) return "trace_id must be 16 bytes, not all zero";
  if (!isId(wire.spanId, 8)) return "span_id must be 8 bytes, not all zero";
  const parent = wire.parentSpanId.length;
  return parent === 0 || parent === 8 ? undefined : "parent_span_id must be 8 bytes or absent";
}

function spanOf(wire: WireSpan, service: string): Span {
  const parent = hex(wire.parentSpanId);
  return {
    traceId: hex(wire.traceId),
    spanId: hex(wire.spanId),
    parentSpanId: parent === "0000000000000000" ? "" : parent,
    name: wire.name,
    kind: KINDS[wire.kind] ?? "unspecified",
    service,
    startMs: milliseconds(wire.startTimeUnixNano),
    endMs: milliseconds(wire.endTimeUnixNano),
    attributes: bounded(wire.attributes),
    error: wire.status?.code === Status_StatusCode.ERROR,
  };
}

const KINDS: Readonly<Record<number, SpanKind>> = {
  [Span_SpanKind.INTERNAL]: "internal",
  [Span_SpanKind.SERVER]: "server",
  [Span_SpanKind.CLIENT]: "client",
  [Span_SpanKind.PRODUCER]: "producer",
  [Span_SpanKind.CONSUMER]: "consumer",
};

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
/** In two steps: nanoseconds since 1970 do not fit a double. */
const milliseconds = (nanos: bigint): number => Number(nanos / 1_000_000n) + Number(nanos % 1_000_000n) / 1e6;

// A span is kept whole up to these; what is above says so in its place.
const MAX_ATTRIBUTES = 64;
const MAX_TEXT = 1024;

function bounded(list: readonly KeyValue[]): Record<string, AttributeValue> {
  const entries = list.slice(0, MAX_ATTRIBUTES).map(({ key, value }): [string, AttributeValue] => {
    const v = plain(value);
    return [
      key.slice(0, MAX_TEXT),
      typeof v === "string" && v.length > MAX_TEXT ? `${v.slice(0, MAX_TEXT)}...` : v,
    ];
  });
  if (list.length > MAX_ATTRIBUTES) {
    entries.push(["weft.dropped_attributes", list.length - MAX_ATTRIBUTES]);
  }
  return Object.fromEntries(entries);
}

function plain(value: AnyValue | undefined): AttributeValue {
  switch (value?.value.case) {
    case "stringValue":
    case "boolValue":
    case "doubleValue":
      return value.value.value;
    case "intValue":
      return Number(value.value.value);
    case "bytesValue":
      return hex(value.value.value);
    case "arrayValue":
    case "kvlistValue":
      return JSON.stringify(toJson(AnyValueSchema, value));
    default:
      return "";
  }
}
