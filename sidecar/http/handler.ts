// hot path
/** HTTP of one downstream connection: filters, route, host and retries around the codec of http1/. */

import { TLSSocket } from "node:tls";
import { timerMs } from "#lib/clock.ts";
import { pickHost } from "../cluster/balancer.ts";
import { evaluateFault, type FaultVerdict } from "../filters/fault.ts";
import { chainOfNow } from "../filters/network.ts";
import { evaluateRbac, type Rbac, type RbacInput } from "../filters/rbac.ts";
import { Verdict } from "../http1/errors.ts";
import { type Exchange, type ExchangeHandler, NO_RETRY } from "../http1/exchange.ts";
import { isAuthority, isOriginForm } from "../http1/head-syntax.ts";
import type { HostPool } from "../http1/pool.ts";
import type { RequestHead } from "../http1/request-head.ts";
import type { ResponseHead } from "../http1/response-head.ts";
import { HeadEdits } from "../http1/write-head.ts";
import type { Accepted } from "../inbound.ts";
import { acceptedPath, redirectsEscapedSlashes } from "../path/accepted.ts";
import { pickCluster } from "../route/action.ts";
import { withoutPort } from "../route/table.ts";
import type {
  ConnectionFacts,
  DirectResponseAction,
  FilterChain,
  FormatLookup,
  HeadView,
  Host,
  HttpConfig,
  RedirectAction,
  RouteAction,
  Snapshot,
} from "../snapshot.ts";
import { ClientClaims } from "./client-claims.ts";
import { lookUp } from "./header-format.ts";
import { mutateRequest, NO_FIELDS, responseEdits } from "./header-mutations.ts";
import type { ConnectContext, Pools } from "./pools.ts";
import { remoteAddress } from "./remote-address.ts";
import { type RequestObserver, RequestState } from "./request-state.ts";
import { backOffMs, type RetryBudget, retriesFailure, retriesResponse } from "./retry.ts";
import { SeenHead } from "./seen-head.ts";

const HTTP_PORT = 80;
/** Which attempt at the upstream it is, from 1 (include_request_attempt_count). */
const ATTEMPTS = "x-envoy-attempt-count";

/** Shared by all connections of the process. */
export interface HandlerContext extends ConnectContext {
  /** Read at every request: a connection outlives snapshots. */
  snapshot(): Snapshot | null;
  /** Our own SPIFFE id for XFCC's By, or "". */
  identity(): string;
  readonly pools: Pools;
  readonly retries: RetryBudget;
  readonly observer: RequestObserver;
}

export class HttpHandler implements ExchangeHandler {
  readonly #accepted: Accepted;
  readonly #context: HandlerContext;
  readonly #claims: ClientClaims;
  readonly #rbac: Asked;
  readonly #lookup: FormatLookup;
  /** One exchange at a time: what is added to its request is written down here. */
  readonly #edits = new HeadEdits();
  readonly #seen = new SeenHead(this.#edits);
  #exchange: Exchange | null = null;
  /** The snapshot last seen, and the chain of this connection in it. */
  #snapshot: Snapshot | null = null;
  #chain: FilterChain | null = null;

  constructor(accepted: Accepted, context: HandlerContext) {
    this.#accepted = accepted;
    this.#context = context;
    this.#claims = new ClientClaims(accepted);
    this.#rbac = new Asked(accepted.facts, this.#seen);
    this.#lookup = (command, argument) => this.#lookUp(command, argument); // cold: once per connection
  }

  onRequest(exchange: Exchange): void {
    this.#exchange = exchange;
    const snapshot = this.#context.snapshot();
    if (snapshot !== this.#snapshot) {
      this.#snapshot = snapshot;
      this.#chain = snapshot === null ? null : this.#chainOf(snapshot);
    }
    const chain = this.#chain;
    if (snapshot === null || chain === null || chain.terminal.kind !== "http") {
      exchange.respond(503, "filter_chain_not_found", "", true);
      return;
    }
    const config = chain.terminal;
    const state = new RequestState(snapshot, config);
    exchange.context = state;
    exchange.streamIdleMs = config.streamIdleTimeoutMs;
    exchange.requestTimeoutMs = config.requestTimeoutMs;
    exchange.maxDurationMs = config.maxStreamDurationMs;
    const { request } = exchange;
    if (request.minor === 0 && (!config.acceptHttp10 || request.authority === "")) {
      if (config.acceptHttp10) exchange.respond(400, "http1.missing_host", "", true);
      else exchange.respond(426, "low_version", "Upgrade Required", true);
      return;
    }
    // CONNECT has no path.
    if (request.method !== "CONNECT" && !normalize(exchange, config)) return;
    this.#edits.clear();
    exchange.requestEdits = this.#edits;
    this.#claims.sanitize(request, this.#edits, config, this.#context.identity());
    this.#seen.wire = request;
    const hit = config.routes.find(this.#seen);
    if (hit !== null) {
      state.route = hit.route;
      state.virtualHost = hit.virtualHost;
    }
    this.#context.observer.onHead(exchange, state, this.#accepted);
    this.#filter(exchange, state, 0);
  }

  /** The chain of now. Fails closed where this connection would not be accepted today. */
  #chainOf(snapshot: Snapshot): FilterChain | null {
    const chain = chainOfNow(snapshot.listeners.get(this.#accepted.listener.name), this.#accepted);
    return "refusal" in chain ? null : chain;
  }

  #allows(rbac: Rbac, config: HttpConfig): boolean {
    this.#rbac.config = config;
    return evaluateRbac(rbac, this.#rbac).allowed;
  }

  #filter(exchange: Exchange, state: RequestState, from: number): void {
    const { config, route } = state;
    for (let i = from; i < config.filters.length; i++) {
      const filter = config.filters[i]!;
      if (filter.kind === "rbac") {
        if (this.#allows(route?.rbac ?? filter.rbac, config)) continue;
        exchange.respond(403, "rbac_access_denied", "RBAC: access denied");
        return;
      }
      if (filter.kind === "alpn")
        state.alpn = exchange.request.minor === 0 ? filter.overrides.HTTP10 : filter.overrides.HTTP11;
      if (filter.kind !== "fault") continue;
      const fault = evaluateFault(route?.fault ?? filter.fault, this.#seen);
      if (fault.delayMs > 0) {
        state.delay = setTimeout(afterDelay, timerMs(fault.delayMs), this, exchange, state, fault, i + 1);
        return;
      }
      if (fault.abortStatus > 0) {
        abortForFault(exchange, state, fault);
        return;
      }
    }
    this.#route(exchange, state);
  }

  onDelayed(exchange: Exchange, state: RequestState, fault: FaultVerdict, next: number): void {
    state.delay = null;
    if (exchange.done) return;
    if (fault.abortStatus === 0) this.#filter(exchange, state, next);
    else abortForFault(exchange, state, fault);
  }

  #route(exchange: Exchange, state: RequestState): void {
    const { route, virtualHost } = state;
    if (exchange.request.method === "CONNECT" && !endsConnect(state)) {
      exchange.respond(
        virtualHost === null ? 404 : 405,
        virtualHost === null ? "route_not_found" : "connect_not_allowed",
      );
    } else if (route === null || virtualHost === null) {
      state.flag = "NR";
      exchange.respond(404, "route_not_found");
    } else if (route.action.kind === "route") this.#forward(exchange, state, route.action);
    else this.#answer(exchange, route.action);
  }

  #answer(exchange: Exchange, action: DirectResponseAction | RedirectAction): void {
    exchange.responseEdits = responseEdits(exchange.context as RequestState, NO_FIELDS, this.#lookup);
    if (action.kind === "direct-response") {
      exchange.respond(action.status, "direct_response", action.body);
      return;
    }
    const { request } = exchange;
    const scheme = this.#accepted.stream instanceof TLSSocket ? "https" : "http";
    exchange.responseEdits ??= new HeadEdits();
    exchange.responseEdits.set("location", action.location(scheme, request.authority, request.path));
    exchange.respond(action.status, "redirect");
  }

  #forward(exchange: Exchange, state: RequestState, action: RouteAction): void {
    const { request } = exchange;
    const { config } = state;
    const named = action.clusterHeader === null ? null : this.#seen.get(action.clusterHeader);
    state.picked = named === null ? pickCluster(action, Math.random()) : null;
    const cluster = state.snapshot.clusters.get(named ?? state.picked?.name ?? "");
    if (cluster === undefined) {
      state.flag = "NC";
      exchange.respond(action.clusterNotFoundStatus, "cluster_not_found");
      return;
    }
    state.cluster = cluster;
    if (!cluster.alpnOverride) state.alpn = null;
    state.retry = action.retryPolicy ?? state.virtualHost!.retryPolicy;
    if (state.retry !== null) {
      state.retriesLeft = state.retry.numRetries;
      exchange.retries = state.retriesLeft;
      exchange.tryTimeoutMs = state.retry.perTryTimeoutMs;
    }
    exchange.timeoutMs = action.timeoutMs;
    if (action.idleTimeoutMs !== null) exchange.streamIdleMs = action.idleTimeoutMs;
    if (action.maxStreamDurationMs !== null) exchange.maxDurationMs = action.maxStreamDurationMs;
    if (request.upgrade !== "") {
      // Any other is ignored, as RFC 9110 7.8 allows: clients offer TLS/1.2 with every request.
      const allowed = action.upgrades.length > 0 ? action.upgrades : config.upgrades;
      if (allowed.includes(request.upgrade.toLowerCase())) exchange.upgrade = request.upgrade;
    }
    exchange.tunnels = request.method === "CONNECT";
    const pool = this.#pick(state);
    if (pool === null) {
      state.flag = "UH";
      exchange.respond(503, "no_healthy_upstream", "no healthy upstream");
      return;
    }
    mutateRequest(this.#edits, state, request, this.#lookup);
    if (state.virtualHost!.includeAttemptCount) {
      if (request.has(ATTEMPTS)) this.#edits.set(ATTEMPTS, "1");
      else this.#edits.add(ATTEMPTS, "1");
    }
    if (rewrite(request, action, state)) exchange.forward(pool);
    else exchange.respond(500, "invalid_rewrite", "the configured rewrite gives no valid request");
  }

  #pick(state: RequestState): HostPool | null {
    const cluster = state.cluster!;
    leave(state);
    const host =
      cluster.type === "ORIGINAL_DST"
        ? this.#originalHost()
        : cluster.type === "DYNAMIC_FORWARD_PROXY"
          ? this.#namedHost()
          : pickHost(cluster, state.tried);
    if (host === null) return null;
    state.host = host;
    host.activeRequests++;
    return this.#context.pools.get(cluster, host, state.alpn, this.#context);
  }

  /** Whom the request names; its address is found when a connection is made. */
  #namedHost(): Host {
    const { authority } = this.#exchange!.request;
    const name = withoutPort(authority);
    const port = name.length === authority.length ? HTTP_PORT : Number(authority.slice(name.length + 1));
    return this.#context.pools.originalHost(name.startsWith("[") ? name.slice(1, -1) : name, port);
  }

  #originalHost(): Host | null {
    const { listener, facts } = this.#accepted;
    // On a listener of its own address the destination is this proxy: forwarding there would never end.
    if (listener.bindToPort && !listener.restoresOriginalDst) return null;
    return this.#context.pools.originalHost(facts.destinationAddress, facts.destinationPort);
  }

  onResponse(exchange: Exchange, head: ResponseHead): number {
    const state = exchange.context as RequestState;
    if (state.retry !== null && exchange.canReplay && retriesResponse(state.retry, head)) {
      const delayMs = this.#retry(state);
      if (delayMs !== NO_RETRY) return delayMs;
    }
    if (state.trace !== null) this.#context.observer.onResponseHead(exchange, state, head);
    exchange.responseEdits = responseEdits(state, head, this.#lookup);
    return NO_RETRY;
  }

  onAttemptFailed(exchange: Exchange, verdict: Verdict): number {
    const state = exchange.context as RequestState;
    if (verdict === Verdict.ConnectFailure) state.flag = "UF";
    else state.flag = verdict === Verdict.ResponseTimeout ? "UT" : "UC";
    return retriesFailure(state.retry, exchange, verdict) ? this.#retry(state) : NO_RETRY;
  }

  /** In ms, or NO_RETRY. */
  #retry(state: RequestState): number {
    if (state.retriesLeft <= 0) return NO_RETRY;
    if (!state.retrying) {
      if (!this.#context.retries.begin(state.cluster!)) return NO_RETRY;
      state.retrying = true;
    }
    const delayMs = backOffMs(state.retry!, state.retry!.numRetries - state.retriesLeft + 1, Math.random());
    state.retriesLeft--;
    if (state.host !== null && state.retry!.avoidPreviousHosts) state.tried = state.tried.concat(state.host);
    return delayMs;
  }

  onRetry(exchange: Exchange): void {
    const state = exchange.context as RequestState;
    const pool = this.#pick(state);
    if (pool === null) {
      state.flag = "UH";
      exchange.respond(503, "no_healthy_upstream", "no healthy upstream");
      return;
    }
    if (state.virtualHost!.includeAttemptCount) this.#edits.set(ATTEMPTS, String(exchange.attempts + 1));
    exchange.forward(pool);
  }

  onComplete(exchange: Exchange): void {
    const state = exchange.context as RequestState | null;
    this.#context.observer.onEnd(exchange, state, this.#accepted);
    if (state === null) return;
    if (state.delay !== null) clearTimeout(state.delay);
    leave(state);
    if (state.retrying) this.#context.retries.end(state.cluster!);
  }

  #lookUp(command: string, argument: string): string | null {
    const { request, context } = this.#exchange!;
    const { config } = context as RequestState;
    return lookUp(command, argument, request, this.#seen, config, this.#accepted.facts);
  }
}

/** What policies ask about; who the client is only where one asks. */
class Asked implements RbacInput {
  readonly connection: ConnectionFacts;
  readonly #seen: SeenHead;
  /** Null where the connection is asked about. */
  config: HttpConfig | null = null;

  constructor(connection: ConnectionFacts, seen: SeenHead) {
    this.connection = connection;
    this.#seen = seen;
  }

  get head(): HeadView | null {
    return this.config === null ? null : this.#seen;
  }

  get remoteAddress(): string {
    const { sourceAddress } = this.connection;
    return this.config === null ? sourceAddress : remoteAddress(this.#seen.wire!, this.config, sourceAddress);
  }
}

function endsConnect({ route }: RequestState): boolean {
  return route !== null && (route.action.kind !== "route" || route.action.endsConnect);
}

/** False: answered. */
function normalize(exchange: Exchange, config: HttpConfig): boolean {
  const { request } = exchange;
  const path = acceptedPath(request.path, config);
  if (path === null) {
    exchange.respond(400, "path_normalization_failed", "", true);
    return false;
  }
  if (redirectsEscapedSlashes(request.path, config)) {
    exchange.responseEdits = new HeadEdits();
    exchange.responseEdits.add("location", path);
    exchange.respond(307, "path_normalization_redirect");
    return false;
  }
  request.path = path;
  return true;
}

function afterDelay(
  handler: HttpHandler,
  exchange: Exchange,
  state: RequestState,
  fault: FaultVerdict,
  next: number,
): void {
  handler.onDelayed(exchange, state, fault, next);
}

function abortForFault(exchange: Exchange, state: RequestState, fault: FaultVerdict): void {
  state.flag = "FI";
  if (fault.grpcStatus !== null) {
    exchange.responseEdits = new HeadEdits();
    exchange.responseEdits.add("grpc-status", String(fault.grpcStatus));
  }
  exchange.respond(fault.abortStatus, "fault_filter_abort", "fault filter abort");
}

function leave(state: RequestState): void {
  if (state.host !== null) state.host.activeRequests--;
  state.host = null;
}

/** Host and path as the upstream sees them. False: what came out cannot stand in a head, or is too long for one. */
function rewrite(request: RequestHead, action: RouteAction, state: RequestState): boolean {
  const name = state.picked?.hostRewrite ?? action.hostRewrite;
  if (name !== null) request.authority = name;
  else if (action.autoHostRewrite && state.host !== null && state.host.hostname !== "") {
    request.authority = state.host.hostname;
    if (!isAuthority(request.authority)) return false;
  }
  if (action.rewritePath === null) return true;
  request.path = action.rewritePath(request.path);
  return isOriginForm(request.path);
}
