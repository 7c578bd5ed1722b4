/** The pure decision function: what this configuration does with a connection and a request, and why. */
import { chooseTransport, isHealthy } from "./cluster/balancer.ts";
import { evaluateFault } from "./filters/fault.ts";
import { evaluateRbac, type Rbac } from "./filters/rbac.ts";
import { remoteAddress } from "./http/remote-address.ts";
import { acceptedPath } from "./path/accepted.ts";
import type {
  ConnectionFacts,
  FilterChain,
  HeaderMutation,
  HeadView,
  Route,
  RouteAction,
  Snapshot,
  WeightedCluster,
} from "./snapshot.ts";

export interface DecisionInput {
  /** Name of the accepting listener; with `useOriginalDst` the destination may lead to another one. */
  readonly listener: string;
  readonly facts: ConnectionFacts;
  /** null = a TCP connection. */
  readonly head: HeadView | null;
}

export interface FilterDecision {
  readonly name: string;
  readonly verdict: "allow" | "deny" | "delay" | "abort" | "pass";
  readonly policy: string | null;
}

/** What leaves for a cluster: host and path after rewrites, and the header changes in order. */
export interface Forwarded {
  readonly authority: string;
  readonly path: string;
  readonly headers: readonly HeaderMutation[];
}

export interface Decision {
  readonly listener: string | null;
  readonly chain: string | null;
  readonly tls: boolean;
  readonly filters: readonly FilterDecision[];
  readonly virtualHost: string | null;
  readonly route: string | null;
  /** Object that made the route, and its file and line, if the control plane said so. */
  readonly config: string | null;
  readonly source: string | null;
  readonly clusters: readonly {
    readonly name: string;
    readonly weight: number;
    readonly known: boolean;
    /** The DestinationRule, and its file and line. */
    readonly config: string | null;
    readonly source: string | null;
    /** null on TCP chains. */
    readonly forwarded: Forwarded | null;
    readonly endpoints: readonly {
      readonly address: string;
      readonly healthy: boolean;
      readonly tls: boolean;
    }[];
  }[];
  /** Status of an answer by the proxy itself; null if the request is forwarded, 0 if the connection is closed. */
  readonly status: number | null;
  readonly reason: string;
}

/** Pure; ends where the proxy would, with `status` and `reason` said. Which endpoint is picked is left to chance. */
export function decide(snapshot: Snapshot, input: DecisionInput): Decision {
  const { facts, head } = input;
  const accepting = snapshot.listeners.get(input.listener) ?? null;
  const listener =
    accepting?.useOriginalDst === true
      ? (snapshot.findByOriginalDst(facts.destinationAddress, facts.destinationPort) ?? accepting)
      : accepting;
  const base: Decision = {
    listener: listener?.name ?? null,
    chain: null,
    tls: false,
    filters: [],
    virtualHost: null,
    route: null,
    config: null,
    source: null,
    clusters: [],
    status: 0,
    reason: "",
  };
  if (listener === null) return { ...base, reason: `no listener ${input.listener}` };
  const chain = listener.findFilterChain(facts);
  if (chain === null)
    return { ...base, reason: "filter_chain_not_found: no filter chain matches, the connection is closed" };
  const filters: FilterDecision[] = [];
  const at = { ...base, chain: chain.name, tls: chain.tls !== null, filters };
  for (const filter of chain.networkFilters) {
    if (filter.kind !== "rbac") continue;
    if (judge(filter.name, filter.rbac, input, null, filters))
      return { ...at, reason: `${filter.name} denies the connection` };
  }
  const { terminal } = chain;
  if (terminal.kind === "tcp")
    return { ...at, clusters: describe(snapshot, terminal.clusters, null), status: null, reason: "tcp" };
  if (head === null) return { ...at, status: null, reason: "http connection" };
  return decideRequest(snapshot, input, head, chain, { ...at, filters });
}

function decideRequest(
  snapshot: Snapshot,
  input: DecisionInput,
  asSent: HeadView,
  chain: FilterChain,
  at: Decision & { filters: FilterDecision[] },
): Decision {
  if (chain.terminal.kind !== "http") return at;
  const path = acceptedPath(asSent.path, chain.terminal);
  if (path === null) return { ...at, status: 400, reason: "path_normalization_failed" };
  const head = path === asSent.path ? asSent : withPath(asSent, path);
  const hit = chain.terminal.routes.find(head);
  const route: Route | null = hit?.route ?? null;
  const found = {
    ...at,
    virtualHost: hit?.virtualHost.name ?? null,
    route: route?.name ?? null,
    config: route?.config ?? null,
    source: route?.source ?? null,
  };
  const client = remoteAddress(head, chain.terminal, input.facts.sourceAddress);
  for (const filter of chain.terminal.filters) {
    if (
      filter.kind === "rbac" &&
      judge(filter.name, route?.rbac ?? filter.rbac, input, head, at.filters, client)
    ) {
      return { ...found, status: 403, reason: "RBAC: access denied" };
    }
    if (filter.kind === "fault") {
      const policy = route?.fault ?? filter.fault;
      // 0 is below every percentage: what may happen is shown, with its chance.
      const verdict = evaluateFault(policy, head, () => 0);
      if (verdict.delayMs > 0)
        at.filters.push({
          name: filter.name,
          verdict: "delay",
          policy: `${verdict.delayMs} ms, ${(policy?.delay?.perMillion ?? 0) / 10_000} %`,
        });
      if (verdict.abortStatus > 0) {
        at.filters.push({
          name: filter.name,
          verdict: "abort",
          policy: `${verdict.abortStatus}, ${(policy?.abort?.perMillion ?? 0) / 10_000} %`,
        });
        if (policy?.abort?.perMillion === 1_000_000)
          return { ...found, status: verdict.abortStatus, reason: "fault filter abort" };
      }
    }
  }
  if (route === null)
    return {
      ...found,
      status: 404,
      reason: hit === null ? `no virtual host for ${head.authority}` : "no route matches",
    };
  const { action } = route;
  if (action.kind === "direct-response")
    return { ...found, status: action.status, reason: "direct_response" };
  if (action.kind === "redirect")
    return {
      ...found,
      status: action.status,
      reason: `redirect to ${action.location("http", head.authority, head.path)}`,
    };
  const named = action.clusterHeader === null ? null : head.get(action.clusterHeader);
  const plain = { weight: 1, headers: null, hostRewrite: null };
  const picked = named === null ? action.clusters : [{ name: named, ...plain }];
  const mutations = [route.headers, hit?.virtualHost.headers, chain.terminal.routes.headers];
  const clusters = describe(snapshot, picked, (cluster) => ({
    ...rewritten(head, action, cluster),
    headers: [cluster.headers, ...mutations].flatMap((m) => m?.request ?? []),
  }));
  if (!clusters.some((c) => c.known))
    return { ...found, clusters, status: action.clusterNotFoundStatus, reason: "cluster_not_found" };
  return { ...found, clusters, status: null, reason: "route" };
}

/** True = denied. */
function judge(
  name: string,
  rbac: Rbac,
  input: DecisionInput,
  head: HeadView | null,
  filters: FilterDecision[],
  remoteAddress = input.facts.sourceAddress,
): boolean {
  const verdict = evaluateRbac(rbac, { connection: input.facts, head, remoteAddress });
  filters.push({
    name,
    verdict: verdict.allowed ? "allow" : "deny",
    policy: verdict.policy,
  });
  return !verdict.allowed;
}

function withPath(head: HeadView, path: string): HeadView {
  const { method, authority } = head;
  return {
    method,
    authority,
    path,
    get: (name) => head.get(name),
    getAll: (name) => head.getAll(name),
    has: (name) => head.has(name),
  };
}

function rewritten(head: HeadView, action: RouteAction, cluster: WeightedCluster) {
  return {
    authority: cluster.hostRewrite ?? action.hostRewrite ?? head.authority,
    path: action.rewritePath === null ? head.path : action.rewritePath(head.path),
  };
}

function describe(
  snapshot: Snapshot,
  clusters: readonly WeightedCluster[],
  forward: ((cluster: WeightedCluster) => Forwarded) | null,
): Decision["clusters"] {
  return clusters.map((target) => {
    const { name, weight } = target;
    const cluster = snapshot.clusters.get(name);
    const endpoints = (cluster?.hosts ?? []).map((host) => {
      const tls = cluster === undefined ? null : chooseTransport(cluster, host).tls;
      return {
        address: host.pipe ?? `${host.address}:${host.port}`,
        healthy: isHealthy(host, 0),
        tls: tls !== null,
      };
    });
    const source = cluster?.metadata["weft"]?.["source"];
    return {
      name,
      weight,
      known: cluster !== undefined,
      config: cluster?.istio.config ?? null,
      source: typeof source === "string" ? source : null,
      forwarded: forward?.(target) ?? null,
      endpoints,
    };
  });
}
