import type { Exchange } from "../http1/exchange.ts";
import type { ResponseHead } from "../http1/response-head.ts";
import type { Accepted } from "../inbound.ts";
import type {
  Cluster,
  Host,
  HttpConfig,
  RetryPolicy,
  Route,
  Snapshot,
  VirtualHost,
  WeightedCluster,
} from "../snapshot.ts";

const NONE: readonly never[] = [];

/** What the handler knows of one request; `exchange.context`. */
export class RequestState {
  readonly snapshot: Snapshot;
  readonly config: HttpConfig;
  route: Route | null = null;
  virtualHost: VirtualHost | null = null;
  picked: WeightedCluster | null = null;
  cluster: Cluster | null = null;
  /** The host of the last attempt; kept until the observer has seen the end. */
  host: Host | null = null;
  /** Hosts that a retry avoids. */
  tried: readonly Host[] = NONE;
  retry: RetryPolicy | null = null;
  retriesLeft = 0;
  retrying = false;
  alpn: readonly string[] | null = null;
  /** An injected delay under way. */
  delay: NodeJS.Timeout | null = null;
  /** Envoy's response flag, "-" for none. */
  flag = "-";
  /** The observer's own: what it writes down of this request; null = nothing, then it hears of the end alone. */
  trace: unknown = null;

  constructor(snapshot: Snapshot, config: HttpConfig) {
    this.snapshot = snapshot;
    this.config = config;
  }
}

/** Metrics, traces and access logs of a process: the handler tells, the observer never decides. */
export interface RequestObserver {
  /** The head is sanitised and its route is found; `exchange.requestEdits` may get request id and trace context. */
  onHead(exchange: Exchange, state: RequestState, accepted: Accepted): void;
  /** The answer that will go downstream has begun; only where `state.trace` is not null. */
  onResponseHead(exchange: Exchange, state: RequestState, head: ResponseHead): void;
  /** Once per exchange, however it ended. `state` is null where the head was refused before it got one. */
  onEnd(exchange: Exchange, state: RequestState | null, accepted: Accepted): void;
}

export const NO_OBSERVER: RequestObserver = { onHead: () => {}, onResponseHead: () => {}, onEnd: () => {} };
