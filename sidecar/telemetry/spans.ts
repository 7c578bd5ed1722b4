import { Client } from "undici";

/** A finished span as the hot path leaves it: plain fields, no OpenTelemetry object. */
export interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: "server" | "client";
  /** ms since the epoch. */
  readonly startMs: number;
  readonly endMs: number;
  readonly error: boolean;
  readonly attributes: readonly (readonly [string, string | number])[];
}

/** Takes batches off the ring; rejects when the collector did not. */
export type SendSpans = (body: string) => Promise<void>;

/** A ring of finished spans: when the collector is slow the oldest are overwritten and counted, nothing waits. */
export class SpanBuffer {
  dropped = 0;
  readonly #ring: (Span | null)[];
  #head = 0;
  #size = 0;

  constructor(capacity = 4096) {
    this.#ring = new Array<Span | null>(capacity).fill(null);
  }
  push(span: Span): void {
    const capacity = this.#ring.length;
    this.#ring[(this.#head + this.#size) % capacity] = span;
    if (this.#size < capacity) this.#size++;
    else {
      this.#head = (this.#head + 1) % capacity;
      this.dropped++;
    }
  }
  take(most = 512): Span[] {
    const batch: Span[] = [];
    while (batch.length < most && this.#size > 0) {
      batch.push(this.#ring[this.#head]!);
      this.#ring[this.#head] = null;
      this.#head = (this.#head + 1) % this.#ring.length;
      this.#size--;
    }
    return batch;
  }
  /** Sends everything held; a batch that fails is lost and counted, as OTLP allows for spans. */
  async flush(serviceName: string, send: SendSpans): Promise<void> {
    for (let batch = this.take(); batch.length > 0; batch = this.take()) {
      try {
        await send(encodeOtlp(serviceName, batch));
      } catch {
        this.dropped += batch.length;
        return;
      }
    }
  }
}

/** OTLP/JSON (opentelemetry.io/docs/specs/otlp, JSON encoding): ids in hex, 64-bit times as decimal strings. */
export function encodeOtlp(serviceName: string, spans: readonly Span[]): string {
  return JSON.stringify({
    resourceSpans: [
      {
        resource: { attributes: [attribute("service.name", serviceName)] },
        scopeSpans: [{ scope: { name: "weft" }, spans: spans.map(otlpSpan) }],
      },
    ],
  });
}

function otlpSpan(span: Span) {
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    parentSpanId: span.parentSpanId,
    name: span.name,
    kind: span.kind === "server" ? 2 : 3,
    startTimeUnixNano: nanos(span.startMs),
    endTimeUnixNano: nanos(span.endMs),
    attributes: span.attributes.map(([key, value]) => attribute(key, value)),
    status: { code: span.error ? 2 : 0 },
  };
}

function nanos(ms: number): string {
  return (BigInt(Math.round(ms * 1000)) * 1000n).toString();
}

function attribute(key: string, value: string | number) {
  return { key, value: typeof value === "number" ? { intValue: String(value) } : { stringValue: value } };
}

/** Posts to a collector on a Unix socket. */
export function sendOverUnixSocket(socketPath: string, path = "/v1/traces"): SendSpans {
  const client = new Client("http://otlp", { socketPath });
  return async (body) => {
    const headers = { "content-type": "application/json" };
    const response = await client.request({ method: "POST", path, headers, body });
    await response.body.dump();
    if (response.statusCode >= 300) throw new Error(`the collector answered ${response.statusCode}`);
  };
}
