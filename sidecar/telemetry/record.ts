import type { ConnectionFacts, HeadView, Host } from "../snapshot.ts";
import type { HttpPlan } from "./plan.ts";

/** One request (or TCP connection) as access log and span tell of it. Made only if one of the two is wanted. */
export class RequestRecord {
  /** null for a TCP connection. */
  readonly plan: HttpPlan | null;
  readonly facts: ConnectionFacts;
  /** ms since the epoch. */
  readonly startMs: number;
  method = "";
  path = "";
  authority = "";
  scheme = "http";
  protocol = "";
  requestId = "";
  userAgent = "";
  /** Hex; "" where the request is not traced. */
  traceId = "";
  spanId = "";
  parentSpanId = "";
  spanName = "";
  /** Values of the plan's request-header tags, in their order; null = absent. */
  tags: readonly (string | null)[] = NONE;
  durationMs = 0;
  /** From the request's head to the head of the response, or -1. */
  upstreamMs = -1;
  status = 0;
  flag = "-";
  detail = "";
  /** Why we closed the connection (Envoy's CONNECTION_TERMINATION_DETAILS), or "". */
  termination = "";
  /** Why no connection to the host could be made, or "". */
  failure = "";
  bytesReceived = 0;
  bytesSent = 0;
  cluster = "";
  host: Host | null = null;
  /** "ip:port" of our end of the connection to the host, or "". */
  upstreamLocal = "";
  route = "";
  /** Values of the plan's logged response headers, in their order. */
  responseValues: readonly (string | null)[] = NONE;

  constructor(plan: HttpPlan | null, facts: ConnectionFacts, startMs: number) {
    this.plan = plan;
    this.facts = facts;
    this.startMs = startMs;
  }
}

const NONE: readonly (string | null)[] = [];

/** A piece of a log line: null prints "-". `head` is the request's, null for TCP. */
export type RecordField = (record: RequestRecord, head: HeadView | null) => string | null;

/** "ip:port", IPv6 in brackets, or a pipe's path. */
export function addressOf(host: Host): string {
  return (
    host.pipe ??
    (host.address.includes(":") ? `[${host.address}]:${host.port}` : `${host.address}:${host.port}`)
  );
}
