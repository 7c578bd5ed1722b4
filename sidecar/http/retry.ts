// hot path
/** Which failures a route's retry policy takes up again, and how many retries a cluster bears at once. */
import { Verdict } from "../http1/errors.ts";
import type { Exchange } from "../http1/exchange.ts";
import type { ResponseHead } from "../http1/response-head.ts";
import type { Cluster, RetryPolicy } from "../snapshot.ts";

/** Retries under way by cluster name (circuit breaker max_retries), over all connections of the process. */
export class RetryBudget {
  readonly #running = new Map<string, number>(); // cold: once per process

  begin(cluster: Cluster): boolean {
    const running = this.#running.get(cluster.name) ?? 0;
    if (running >= cluster.maxRetries) return false;
    this.#running.set(cluster.name, running + 1);
    return true;
  }

  end(cluster: Cluster): void {
    const left = (this.#running.get(cluster.name) ?? 1) - 1;
    if (left > 0) this.#running.set(cluster.name, left);
    else this.#running.delete(cluster.name);
  }
}

/** Envoy's x-envoy-retry-on and x-envoy-retry-grpc-on, as the policy has them. */
export function retriesResponse(policy: RetryPolicy, head: ResponseHead): boolean {
  const { on } = policy;
  const { status } = head;
  if (on.http5xx && status >= 500) return true;
  if (on.gatewayError && status >= 502 && status <= 504) return true;
  if (on.retriable4xx && status === 409) return true;
  if (on.retriableStatusCodes && policy.retriableStatusCodes.includes(status)) return true;
  if (on.retriableHeaders) for (const name of policy.retriableHeaders) if (head.has(name)) return true;
  const grpc = on.grpcStatus.length === 0 ? null : head.get("grpc-status");
  return grpc !== null && on.grpcStatus.includes(Number(grpc));
}

/** Before a connection stands nothing was sent; after that a request that changes things needs the policy's word. */
export function retriesFailure(policy: RetryPolicy | null, exchange: Exchange, verdict: Verdict): boolean {
  if (policy === null) return false;
  const { on } = policy;
  if (verdict === Verdict.ConnectFailure)
    return on.connectFailure || on.http5xx || on.gatewayError || on.reset;
  if (on.reset || on.http5xx || on.gatewayError) return true;
  return on.resetBeforeRequest && !exchange.headSent;
}

/**
 * The wait before a retry, in ms, as Envoy's: fully jittered, from 0 to base x (2^retry - 1), at most the maximum.
 * @param retry from 1 @param random in [0, 1)
 */
export function backOffMs(
  { backOffBaseMs, backOffMaxMs }: Pick<RetryPolicy, "backOffBaseMs" | "backOffMaxMs">,
  retry: number,
  random: number,
): number {
  return random * Math.min(backOffMaxMs, backOffBaseMs * (2 ** retry - 1));
}
