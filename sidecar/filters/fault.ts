/** envoy.filters.http.fault: delay, then abort, each with its own chance. */
import type { HeadView } from "../snapshot.ts";

export interface FaultPolicy {
  readonly delay: { readonly durationMs: number; readonly perMillion: number } | null;
  readonly abort: {
    readonly httpStatus: number;
    readonly grpcStatus: number | null;
    readonly perMillion: number;
  } | null;
  /** All must match; empty = every request. */
  readonly headers: readonly { matches(head: HeadView): boolean }[];
}

export interface FaultVerdict {
  /** 0 = no delay. */
  readonly delayMs: number;
  /** 0 = no abort. With a gRPC status, 200 and grpc-status in the head. */
  readonly abortStatus: number;
  readonly grpcStatus: number | null;
}

const NO_FAULT: FaultVerdict = { delayMs: 0, abortStatus: 0, grpcStatus: null };

/** A route's own policy replaces the filter's. @param random in [0, 1) */
export function evaluateFault(
  policy: FaultPolicy | null,
  head: HeadView,
  random: () => number = Math.random,
): FaultVerdict {
  if (policy === null) return NO_FAULT;
  for (const header of policy.headers) if (!header.matches(head)) return NO_FAULT;
  const { delay, abort } = policy;
  const delayMs = delay !== null && chance(delay.perMillion, random) ? delay.durationMs : 0;
  if (abort === null || !chance(abort.perMillion, random))
    return delayMs === 0 ? NO_FAULT : { delayMs, abortStatus: 0, grpcStatus: null };
  return { delayMs, abortStatus: abort.httpStatus, grpcStatus: abort.grpcStatus };
}

function chance(perMillion: number, random: () => number): boolean {
  return perMillion > 0 && random() * 1_000_000 < perMillion;
}
