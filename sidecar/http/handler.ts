/** HTTP of one downstream connection: filters, route, host and retries around the codec of http1/. */
import { createHash } from "node:crypto";
import { TLSSocket } from "node:tls";
import { chooseTransport, pickHost } from "../cluster/balancer.ts";
import { newHost } from "../cluster/hosts.ts";
import { evaluateFault } from "../filters/fault.ts";
import { evaluateRbac, type Rbac } from "../filters/rbac.ts";
import { Verdict } from "../http1/errors.ts";
import type { Exchange, ExchangeHandler } from "../http1/exchange.ts";
import { Field } from "../http1/header-block.ts";
import { HostPool } from "../http1/pool.ts";
import type { RequestHead } from "../http1/request-head.ts";
import type { ResponseHead } from "../http1/response-head.ts";
import { HeadEdits } from "../http1/write-head.ts";
import type { Accepted } from "../inbound.ts";
import { connectUpstream } from "../outbound.ts";
import { normalizePath, type PathMode } from "../path/normalize.ts";
import { pickCluster } from "../route/action.ts";
import type {
  Cluster,
  FilterChain,
  FormatLookup,
  HeaderMutation,
  Host,
  HttpConfig,
  RetryPolicy,
  Route,
  RouteAction,
  Snapshot,
  VirtualHost,
  WeightedCluster,
} from "../snapshot.ts";
import type { TlsSecret } from "../tls/secrets.ts";
import type { RequestObserver, RequestState } from "./request-state.ts";
import { UpstreamSocket } from "./upstream-socket.ts";

export interface HandlerContext {
  /** Read at every request: a connection outlives snapshots. */
  snapshot(): Snapshot | null;
  secret(): TlsSecret | null;
  readonly trustDomain: string;
  /** Our own SPIFFE id for XFCC's By, or "". */
  identity(): string;
  /** Shared by all connections of the process. */
  readonly pools: Pools;
  readonly observer: RequestObserver;
}

const MAX_IDLE = 256;
const MAX_ORIGINAL_HOSTS = 1024;

/** Connections by host and by what decides how they are secured; a host that is gone takes its pools along. */
export class Pools {
  readonly #byHost = new WeakMap<Host, Map<string, HostPool>>();
  readonly #original = new Map<string, Host>();
  /** Retries under way by cluster name (circuit breaker max_retries). */
  readonly retries = new Map<string, number>();

  get(cluster: Cluster, host: Host, alpn: readonly string[] | null, context: HandlerContext): HostPool {
    let pools = this.#byHost.get(host);
    if (pools === undefined) {
      pools = new Map();
      this.#byHost.set(host, pools);
    }
    const key = `${cluster.name}|${cluster.hash}|${chooseTransport(cluster, host).name}|${alpn?.join() ?? ""}`;
    let pool = pools.get(key);
    if (pool === undefined) {
      pool = new HostPool({
        connect: () => {
          const socket = new UpstreamSocket();
          connectUpstream(
            cluster,
            host,
            context.secret(),
            context.trustDomain,
            alpn,
            (stream) => socket.open(stream),
            (failure) => socket.destroy(new Error(failure.message)),
          );
          return socket;
        },
        readyEvent: "connect",
        maxIdle: MAX_IDLE,
        idleTimeoutMs: cluster.idleTimeoutMs > 0 ? cluster.idleTimeoutMs : 3_600_000,
        // Connection and handshake have their own limits in connectUpstream.
        connectTimeoutMs: cluster.connectTimeoutMs * 2 + 1000,
      });
      pools.set(key, pool);
    }
    return pool;
  }

  /** The host that an ORIGINAL_DST cluster makes of a destination. */
  originalHost(address: string, port: number): Host {
    const key = `${address}|${port}`;
    const known = this.#original.get(key);
    if (known !== undefined) return known;
    if (this.#original.size >= MAX_ORIGINAL_HOSTS)
      for (const oldest of this.#original.keys()) {
        this.#original.delete(oldest);
        break;
      }
    const host = newHost({ address, port, pipe: null });
    this.#original.set(key, host);
    return host;
  }
}

export class HttpHandler implements ExchangeHandler {
  readonly #accepted: Accepted;
  readonly #context: HandlerContext;
  #certHash: string | null = null;

  constructor(accepted: Accepted, context: HandlerContext) {
    this.#accepted = accepted;
    this.#context = context;
  }

  onRequest(exchange: Exchange): void {
    const snapshot = this.#context.snapshot();
    const chain = snapshot === null ? null : this.#chain(snapshot);
    if (snapshot === null || chain === null || chain.terminal.kind !== "http") {
      exchange.respond(503, "filter_chain_not_found", "", true);
      return;
    }
    const config = chain.terminal;
    const state: RequestState = {
      snapshot,
      config,
      route: null,
      virtualHost: null,
      trace: null,
      cluster: null,
      host: null,
      tried: [],
      retry: null,
      retriesLeft: 0,
      retrying: false,
      mutations: [],
      alpn: null,
      delay: null,
      flag: "-",
    };
    exchange.context = state;
    const { request } = exchange;
    if (request.minor === 0 && (!config.acceptHttp10 || request.authority === "")) {
      if (config.acceptHttp10) exchange.respond(400, "http1.missing_host", "", true);
      else exchange.respond(426, "low_version", "", true);
      return;
    }
    if (request.method === "CONNECT") {
      const known = config.routes.findVirtualHost(request.authority) !== null;
      exchange.respond(known ? 405 : 404, known ? "connect_not_allowed" : "route_not_found", "", true);
      return;
    }
    const escaped = /%(2f|5c)/i.test(request.path.split("?", 1)[0]!);
    const rejected = config.pathWithEscapedSlashes === "REJECT_REQUEST" && escaped;
    const path = rejected ? null : normalizePath(request.path, pathMode(config));
    if (path === null) {
      exchange.respond(400, "path_normalization_failed", "", true);
      return;
    }
    request.path = path;
    this.#sanitize(exchange, config);
    const hit = config.routes.find(request);
    state.route = hit?.route ?? null;
    state.virtualHost = hit?.virtualHost ?? null;
    this.#context.observer.onHead(exchange, state, this.#accepted);
    this.#filter(exchange, state, config, hit?.route ?? null, hit?.virtualHost ?? null, 0);
  }

  /** The chain of now. Fails closed where this connection would not be accepted today. */
  #chain(snapshot: Snapshot): FilterChain | null {
    const { listener, facts, stream } = this.#accepted;
    const chain = snapshot.listeners.get(listener.name)?.findFilterChain(facts) ?? null;
    if (chain === null || chain.hash === this.#accepted.chain.hash) return chain;
    if ((chain.tls !== null) !== stream instanceof TLSSocket) return null;
    if (chain.tls?.requireClientCertificate === true && facts.peerIdentities.length === 0) return null;
    for (const filter of chain.networkFilters)
      if (filter.kind === "rbac" && !this.#allows(filter.rbac, null)) return null;
    return chain;
  }

  #allows(rbac: Rbac, head: RequestHead | null): boolean {
    const { facts } = this.#accepted;
    return evaluateRbac(rbac, { connection: facts, head, remoteAddress: facts.sourceAddress }).allowed;
  }

  /** What a client may not say for itself goes before any filter sees it. */
  #sanitize(exchange: Exchange, config: HttpConfig): void {
    const { request } = exchange;
    const { facts, listener } = this.#accepted;
    const edits = new HeadEdits();
    exchange.requestEdits = edits;
    const proven = facts.peerIdentities.length > 0;
    const mode = config.forwardClientCertDetails;
    const keepsXfcc =
      mode === "ALWAYS_FORWARD_ONLY" || (proven && (mode === "FORWARD_ONLY" || mode === "APPEND_FORWARD"));
    const client = keepsXfcc ? request.get("x-forwarded-client-cert") : null;
    for (let i = 0; i < request.count; i++) {
      if (request.kind(i) !== Field.Other) continue;
      const name = request.name(i).toLowerCase();
      if (
        (name === "x-forwarded-client-cert" && !keepsXfcc) ||
        (listener.direction === "INBOUND" && name.startsWith("x-envoy-"))
      ) {
        request.setKind(i, Field.HopByHop);
        // Nor may a filter or route find it by name.
        request.bytes.fill(0, request.lineStart(i), request.lineStart(i) + name.length);
      }
    }
    if (proven && (mode === "SANITIZE_SET" || mode === "APPEND_FORWARD")) {
      const own = this.#xfcc(config);
      edits.set("x-forwarded-client-cert", client === null ? own : `${client},${own}`);
    }
    if (!request.has("x-forwarded-proto"))
      edits.add("x-forwarded-proto", this.#accepted.stream instanceof TLSSocket ? "https" : "http");
  }

  #xfcc(config: HttpConfig): string {
    const { facts, stream } = this.#accepted;
    if (this.#certHash === null) {
      const raw = stream instanceof TLSSocket ? stream.getPeerCertificate().raw : undefined;
      this.#certHash = raw === undefined ? "" : createHash("sha256").update(raw).digest("hex");
    }
    const parts: string[] = [];
    const by = this.#context.identity();
    if (by !== "") parts.push(`By=${by}`);
    if (this.#certHash !== "") parts.push(`Hash=${this.#certHash}`);
    if (config.setCurrentClientCertDetails.subject) parts.push('Subject=""');
    if (config.setCurrentClientCertDetails.uri)
      for (const identity of facts.peerIdentities) parts.push(`URI=${identity}`);
    return parts.join(";");
  }

  #filter(
    exchange: Exchange,
    state: RequestState,
    config: HttpConfig,
    route: Route | null,
    virtualHost: VirtualHost | null,
    from: number,
  ): void {
    for (let i = from; i < config.filters.length; i++) {
      const filter = config.filters[i]!;
      if (filter.kind === "rbac" && !this.#allows(route?.rbac ?? filter.rbac, exchange.request)) {
        exchange.respond(403, "rbac_access_denied", "RBAC: access denied");
        return;
      }
      if (filter.kind === "alpn")
        state.alpn = filter.overrides[exchange.request.minor === 0 ? "HTTP10" : "HTTP11"];
      if (filter.kind !== "fault") continue;
      const fault = evaluateFault(route?.fault ?? filter.fault, exchange.request);
      const after = (): void => {
        state.delay = null;
        if (exchange.done) return;
        if (fault.abortStatus === 0) {
          this.#filter(exchange, state, config, route, virtualHost, i + 1);
          return;
        }
        state.flag = "FI";
        if (fault.grpcStatus !== null) {
          exchange.responseEdits = new HeadEdits();
          exchange.responseEdits.add("grpc-status", String(fault.grpcStatus));
        }
        exchange.respond(fault.abortStatus, "fault_filter_abort", "fault filter abort");
      };
      if (fault.delayMs > 0) {
        state.delay = setTimeout(after, fault.delayMs);
        return;
      }
      if (fault.abortStatus > 0) {
        after();
        return;
      }
    }
    this.#route(exchange, state, config, route, virtualHost);
  }

  #route(
    exchange: Exchange,
    state: RequestState,
    config: HttpConfig,
    route: Route | null,
    virtualHost: VirtualHost | null,
  ): void {
    const { request } = exchange;
    if (route === null || virtualHost === null) {
      state.flag = "NR";
      exchange.respond(404, "route_not_found");
      return;
    }
    const { action } = route;
    if (action.kind === "direct-response") {
      exchange.respond(action.status, "direct_response", action.body);
      return;
    }
    if (action.kind === "redirect") {
      const scheme = this.#accepted.stream instanceof TLSSocket ? "https" : "http";
      exchange.responseEdits = new HeadEdits();
      exchange.responseEdits.add("location", action.location(scheme, request.authority, request.path));
      exchange.respond(action.status, "redirect");
      return;
    }
    const named = action.clusterHeader === null ? null : request.get(action.clusterHeader);
    const picked: WeightedCluster | null = named === null ? pickCluster(action, Math.random()) : null;
    const cluster = state.snapshot.clusters.get(named ?? picked?.name ?? "");
    if (cluster === undefined) {
      state.flag = "NC";
      exchange.respond(action.clusterNotFoundStatus, "cluster_not_found");
      return;
    }
    state.cluster = cluster;
    if (!cluster.alpnOverride) state.alpn = null;
    state.retry = action.retryPolicy ?? virtualHost.retryPolicy;
    state.retriesLeft = state.retry?.numRetries ?? 0;
    exchange.retries = state.retriesLeft;
    exchange.timeoutMs = action.timeoutMs;
    exchange.tryTimeoutMs = state.retry?.perTryTimeoutMs ?? 0;
    if (request.upgrade !== "") {
      const allowed = action.upgrades.length > 0 ? action.upgrades : config.upgrades;
      if (!allowed.includes(request.upgrade.toLowerCase())) {
        // What the client sent ahead is not HTTP: nothing more of this connection is read.
        exchange.respond(403, "upgrade_failed", "", true);
        return;
      }
      exchange.upgrade = request.upgrade;
    }
    const pool = this.#pick(state);
    if (pool === null) {
      state.flag = "UH";
      exchange.respond(503, "no_healthy_upstream", "no healthy upstream");
      return;
    }
    state.mutations = [picked?.headers, route.headers, virtualHost.headers, config.routes.headers].filter(
      (headers) => headers != null,
    );
    const edits = exchange.requestEdits!;
    for (const headers of state.mutations)
      mutate(edits, headers.request, (name) => request.has(name), this.#lookup(exchange));
    rewrite(request, action, picked, state.host);
    exchange.forward(pool);
  }

  #pick(state: RequestState): HostPool | null {
    const cluster = state.cluster!;
    this.#leave(state);
    const host =
      cluster.type === "ORIGINAL_DST" ? this.#originalHost() : pickHost(cluster, { avoid: state.tried });
    if (host === null) return null;
    if (state.retry?.avoidPreviousHosts === true) state.tried.push(host);
    state.host = host;
    host.activeRequests++;
    return this.#context.pools.get(cluster, host, state.alpn, this.#context);
  }

  #originalHost(): Host | null {
    const { listener, facts } = this.#accepted;
    // On a listener of its own address the destination is this proxy: forwarding there would never end.
    if (listener.bindToPort && !listener.restoresOriginalDst) return null;
    return this.#context.pools.originalHost(facts.destinationAddress, facts.destinationPort);
  }

  #leave(state: RequestState): void {
    if (state.host !== null) state.host.activeRequests--;
    state.host = null;
  }

  onResponse(exchange: Exchange, head: ResponseHead): HostPool | null {
    const state = exchange.context as RequestState;
    if (exchange.canReplay && retriesResponse(state.retry, head)) {
      const pool = this.#retry(state);
      if (pool !== null) return pool;
    }
    const edits = new HeadEdits();
    for (const headers of state.mutations)
      mutate(edits, headers.response, (name) => head.has(name), this.#lookup(exchange));
    exchange.responseEdits = edits;
    return null;
  }

  onAttemptFailed(exchange: Exchange, verdict: Verdict): HostPool | null {
    const state = exchange.context as RequestState;
    state.flag =
      verdict === Verdict.ConnectFailure ? "UF" : verdict === Verdict.ResponseTimeout ? "UT" : "UC";
    return retriesFailure(state.retry, exchange, verdict) ? this.#retry(state) : null;
  }

  #retry(state: RequestState): HostPool | null {
    const { retries } = this.#context.pools;
    const cluster = state.cluster!;
    if (state.retriesLeft <= 0) return null;
    if (!state.retrying) {
      const running = retries.get(cluster.name) ?? 0;
      if (running >= cluster.maxRetries) return null;
      retries.set(cluster.name, running + 1);
      state.retrying = true;
    }
    state.retriesLeft--;
    return this.#pick(state);
  }

  onComplete(exchange: Exchange): void {
    const state = exchange.context as RequestState | null;
    this.#context.observer.onEnd(exchange, state, this.#accepted);
    if (state !== null) {
      if (state.delay !== null) clearTimeout(state.delay);
      this.#leave(state);
      if (state.retrying) {
        const { retries } = this.#context.pools;
        const left = (retries.get(state.cluster!.name) ?? 1) - 1;
        if (left > 0) retries.set(state.cluster!.name, left);
        else retries.delete(state.cluster!.name);
      }
    }
  }

  #lookup(exchange: Exchange): FormatLookup {
    const { facts } = this.#accepted;
    return (command, argument) => {
      if (command === "REQ") return exchange.request.get(argument.toLowerCase());
      if (command === "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT") return facts.sourceAddress;
      if (command === "DOWNSTREAM_REMOTE_ADDRESS") return `${facts.sourceAddress}:${facts.sourcePort}`;
      if (command === "DOWNSTREAM_PEER_URI_SAN") return facts.peerIdentities.join(",");
      if (command === "PROTOCOL") return `HTTP/1.${exchange.request.minor}`;
      return null;
    };
  }
}

function pathMode(config: HttpConfig): PathMode {
  if (config.pathWithEscapedSlashes.startsWith("UNESCAPE")) return "DECODE_AND_MERGE_SLASHES";
  if (config.mergeSlashes) return "MERGE_SLASHES";
  return config.normalizePath ? "BASE" : "NONE";
}

function rewrite(
  request: RequestHead,
  action: RouteAction,
  picked: WeightedCluster | null,
  host: Host | null,
): void {
  const name = picked?.hostRewrite ?? action.hostRewrite;
  if (name !== null) request.authority = name;
  else if (action.autoHostRewrite && host !== null && host.hostname !== "") request.authority = host.hostname;
  if (action.rewritePath !== null) request.path = action.rewritePath(request.path);
}

function mutate(
  edits: HeadEdits,
  mutations: readonly HeaderMutation[],
  has: (name: string) => boolean,
  lookup: FormatLookup,
): void {
  for (const mutation of mutations) {
    const { name } = mutation;
    if (mutation.kind === "remove") {
      edits.remove(name);
      continue;
    }
    const present =
      (has(name) && !edits.removed.includes(name)) || edits.added.some((n, i) => i % 2 === 0 && n === name);
    if (mutation.kind === "append") edits.add(name, mutation.value(lookup));
    else if (mutation.kind === "overwrite" || (mutation.kind === "overwrite-if-exists" && present))
      edits.set(name, mutation.value(lookup));
    else if (mutation.kind === "add-if-absent" && !present) edits.add(name, mutation.value(lookup));
  }
}

function retriesResponse(policy: RetryPolicy | null, head: ResponseHead): boolean {
  if (policy === null) return false;
  const { on } = policy;
  const { status } = head;
  if (on.http5xx && status >= 500) return true;
  if (on.gatewayError && status >= 502 && status <= 504) return true;
  if (on.retriable4xx && status === 409) return true;
  if (on.retriableStatusCodes && policy.retriableStatusCodes.includes(status)) return true;
  if (on.retriableHeaders && policy.retriableHeaders.some((name) => head.has(name))) return true;
  const grpc = on.grpcStatus.length === 0 ? null : head.get("grpc-status");
  return grpc !== null && on.grpcStatus.includes(Number(grpc));
}

/** Before a connection stands nothing was sent; after that a request that changes things needs the policy's word. */
function retriesFailure(policy: RetryPolicy | null, exchange: Exchange, verdict: Verdict): boolean {
  if (policy === null) return false;
  const { on } = policy;
  if (verdict === Verdict.ConnectFailure)
    return on.connectFailure || on.http5xx || on.gatewayError || on.reset;
  if (on.reset || on.http5xx || on.gatewayError) return true;
  return on.resetBeforeRequest && !exchange.requestSent;
}
