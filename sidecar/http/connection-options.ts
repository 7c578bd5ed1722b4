import type { DownstreamOptions } from "../http1/downstream.ts";
import type { FilterChain } from "../snapshot.ts";

/** From a request's first byte to the end of its head, where `request_headers_timeout` is not set (Envoy: no limit). */
const HEAD_TIMEOUT_MS = 60_000;
/** See DownstreamOptions.lingerMs. */
const LINGER_MS = 1000;

/**
 * What a connection manager says of its connections. It holds for the life of the connection, while the limits of a request
 * (stream idle timeout ...) are read from the newest configuration with each request.
 */
export function connectionOptions(terminal: FilterChain["terminal"]): DownstreamOptions {
  if (terminal.kind !== "http") return { headTimeoutMs: HEAD_TIMEOUT_MS, lingerMs: LINGER_MS };
  return {
    headTimeoutMs: terminal.requestHeadersTimeoutMs || HEAD_TIMEOUT_MS,
    lingerMs: LINGER_MS,
    maxHeadBytes: terminal.maxRequestHeadersBytes,
    limits: { idleTimeoutMs: terminal.idleTimeoutMs, maxDurationMs: terminal.maxConnectionDurationMs },
  };
}
