import type { AccessLog, HttpConfig, Listener, Tracing } from "../snapshot.ts";
import {
  type AccessLogBuffer,
  compileJson,
  compileText,
  DEFAULT_FORMAT,
  type LineWriter,
} from "./access-log.ts";
import type { LogSinks } from "./log-sinks.ts";

export interface LogPlan {
  readonly write: LineWriter;
  readonly buffer: AccessLogBuffer;
  /** Only requests with one of these response flags; null = all, [] = any flag. */
  readonly onlyFlags: readonly string[] | null;
}

/** What one connection manager wants to be told of a request; compiled once per configuration. */
export class HttpPlan {
  readonly inbound: boolean;
  readonly config: HttpConfig;
  /** null: trace context passes through untouched. */
  readonly tracing: Tracing | null;
  readonly logs: readonly LogPlan[];
  readonly makesRequestId: boolean;
  /** The id that a client from outside sent is not believed. */
  readonly replacesRequestId: boolean;
  /** Response headers that the logs name. */
  readonly responseHeaders: readonly string[];
  /** Request headers that become tags of the span. */
  readonly tagHeaders: readonly string[];

  constructor(config: HttpConfig, listener: Listener, sinks: LogSinks) {
    this.config = config;
    this.inbound = listener.direction === "INBOUND";
    this.tracing = config.tracing?.otlpCluster == null ? null : config.tracing;
    this.makesRequestId = config.generateRequestId;
    this.replacesRequestId = config.useRemoteAddress && !config.preserveExternalRequestId;
    const names: string[] = [];
    this.logs = logPlans(config.accessLog, sinks, names);
    this.responseHeaders = names;
    this.tagHeaders = (this.tracing?.customTags ?? []).flatMap((tag) => tag.requestHeader ?? []);
  }
}

/** Adds to `responseHeaders` the names that the formats ask for: they are kept with each response. */
export function logPlans(logs: readonly AccessLog[], sinks: LogSinks, responseHeaders: string[]): LogPlan[] {
  return logs
    .filter((log) => log.kind !== "ignored")
    .map((log) => ({
      write:
        log.json === null
          ? compileText(log.text ?? DEFAULT_FORMAT, responseHeaders)
          : compileJson(log.json, responseHeaders),
      buffer: sinks.of(log),
      onlyFlags: log.onlyFlags,
    }));
}
