import type { DownstreamOptions } from "../http1/downstream.ts";
import type { FilterChain } from "../snapshot.ts";

/** A head that does not come ends by itself, also where nobody asked for a limit. */
const HEAD_TIMEOUT_MS = 60_000;
const LINGER_MS = 1000;

/** The limits of a connection are those of the chain that accepted it; a stream's follow the snapshot. */
export function connectionOptions(terminal: FilterChain["terminal"]): DownstreamOptions {
  if (terminal.kind !== "http") return { headTimeoutMs: HEAD_TIMEOUT_MS, lingerMs: LINGER_MS };
  return {
    headTimeoutMs: terminal.requestHeadersTimeoutMs || HEAD_TIMEOUT_MS,
    lingerMs: LINGER_MS,
    maxHeadBytes: terminal.maxRequestHeadersBytes,
    limits: { idleTimeoutMs: terminal.idleTimeoutMs, maxDurationMs: terminal.maxConnectionDurationMs },
  };
}
