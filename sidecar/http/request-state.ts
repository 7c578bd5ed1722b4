import type { Exchange } from "../http1/exchange.ts";
import type { Accepted } from "../inbound.ts";
import type {
  Cluster,
  HeaderMutations,
  Host,
  HttpConfig,
  RetryPolicy,
  Route,
  Snapshot,
  VirtualHost,
} from "../snapshot.ts";

/** What the handler knows of one request; `exchange.context`. */
export interface RequestState {
  readonly snapshot: Snapshot;
  readonly config: HttpConfig;
  route: Route | null;
  virtualHost: VirtualHost | null;
  cluster: Cluster | null;
  /** The host of the last attempt; kept until the observer has seen the end. */
  host: Host | null;
  tried: Host[];
  retry: RetryPolicy | null;
  retriesLeft: number;
  retrying: boolean;
  mutations: readonly HeaderMutations[];
  alpn: readonly string[] | null;
  delay: NodeJS.Timeout | null;
  /** Envoy's response flag, "-" for none. */
  flag: string;
  /** The observer's own: its span. */
  trace: unknown;
}

/** Metrics, traces and access logs of a process: the handler tells, the observer never decides. */
export interface RequestObserver {
  /** The head is sanitised and its route is found; `exchange.requestEdits` may get request id and trace context. */
  onHead(exchange: Exchange, state: RequestState, accepted: Accepted): void;
  /** Once per exchange, however it ended. `state` is null where the head was refused before it got one. */
  onEnd(exchange: Exchange, state: RequestState | null, accepted: Accepted): void;
}

export const NO_OBSERVER: RequestObserver = { onHead: () => {}, onEnd: () => {} };
