/** What a route does besides leading somewhere, as lines for people. */
import type { Forwarded } from "#sidecar/decide.ts";
import type { RetryOn, RetryPolicy, Route, VirtualHost } from "#sidecar/snapshot.ts";
import type { Place, Step } from "./contract.ts";
import type { RequestHead } from "./head.ts";

/** Timeout, retries, rewrites and changed headers. */
export function routeDetails(
  route: Route,
  host: VirtualHost,
  head: RequestHead,
  to: Forwarded | null,
): Step["details"] {
  const { action } = route;
  const lines: string[] = [];
  if (action.kind === "route") {
    if (action.timeoutMs > 0) lines.push(`timeout: ${duration(action.timeoutMs)}, then 504`);
    if (action.idleTimeoutMs !== null && action.idleTimeoutMs > 0)
      lines.push(`idle timeout: ${duration(action.idleTimeoutMs)}`);
    lines.push(retryText(action.retryPolicy ?? host.retryPolicy));
  }
  if (to !== null && to.authority !== head.authority) lines.push(`the host becomes ${to.authority}`);
  if (to !== null && to.path !== head.path) lines.push(`the path becomes ${to.path}`);
  const changes = [
    ...(to?.headers ?? []).map((h) => `request ${h.kind === "remove" ? "without" : "with"} ${h.name}`),
    ...(route.headers?.response ?? []).map(
      (h) => `answer ${h.kind === "remove" ? "without" : "with"} ${h.name}`,
    ),
  ];
  if (changes.length > 0) lines.push(`headers: ${changes.join(", ")}`);
  return lines.map((text) => ({ text, place: null }));
}

/** Who answers where the route leads to no service. */
export function answerText({ name }: Route, place: Place | null): string {
  if (place?.object.startsWith("HTTPRoute "))
    return "no backend of this rule can be used (weft status says why)";
  if (place !== null) return "the directResponse of this rule";
  return name === "block_all"
    ? "REGISTRY_ONLY: what the mesh does not know is closed"
    : "the proxy answers by itself";
}

function retryText(policy: RetryPolicy | null): string {
  if (policy === null || policy.numRetries === 0) return "retries: none";
  const each = policy.perTryTimeoutMs > 0 ? `, ${duration(policy.perTryTimeoutMs)} for each try` : "";
  const codes = policy.retriableStatusCodes.length > 0 ? ` ${policy.retriableStatusCodes.join(", ")}` : "";
  return `retries: at most ${policy.numRetries}, on ${reasons(policy.on).join(", ")}${codes}${each}`;
}

const REASONS: Readonly<Record<Exclude<keyof RetryOn, "grpcStatus">, string>> = {
  http5xx: "5xx",
  gatewayError: "gateway-error",
  reset: "reset",
  resetBeforeRequest: "reset-before-request",
  connectFailure: "connect-failure",
  retriable4xx: "retriable-4xx",
  retriableStatusCodes: "retriable-status-codes",
  retriableHeaders: "retriable-headers",
};

function reasons(on: RetryOn): string[] {
  const named = Object.entries(REASONS).flatMap(([key, name]) =>
    on[key as keyof typeof REASONS] ? [name] : [],
  );
  return on.grpcStatus.length > 0 ? [...named, `gRPC status ${on.grpcStatus.join(", ")}`] : named;
}

function duration(ms: number): string {
  return ms % 1000 === 0 ? `${ms / 1000} s` : `${ms} ms`;
}
