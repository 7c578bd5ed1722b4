/** `weft explain -o json`: stable. Imports nothing. */

/** Where a statement stands in the user's files; line is 1-based. */
export interface Place {
  /** "VirtualService default/reviews" */
  readonly object: string;
  readonly file: string;
  readonly line: number;
}

export interface Step {
  readonly kind:
    | "client"
    /** The proxy has not taken the newest configuration: what follows is decided on the one that it runs. */
    | "config"
    | "listener"
    | "route"
    | "fault"
    | "cluster"
    | "endpoints"
    | "mtls"
    | "chain"
    | "authorization"
    | "app";
  /** False: here the request ends. */
  readonly ok: boolean;
  readonly text: string;
  readonly place: Place | null;
  /** More lines: each policy that was asked, each endpoint that is not healthy. */
  readonly details: readonly { readonly text: string; readonly place: Place | null }[];
}

/** One way the request can go: its chance, and what the client gets. */
export interface Outcome {
  /** 0..1 */
  readonly share: number;
  readonly status: number;
  readonly reachesApp: boolean;
  readonly because: string;
  readonly place: Place | null;
}

export interface Destination {
  readonly cluster: string;
  readonly share: number;
  /** Pods that decide alike; an address where no pod of the mesh is. */
  readonly pods: readonly string[];
  readonly steps: readonly Step[];
  readonly outcome: Outcome;
}

export interface Explanation {
  readonly request: {
    /** "TCP" for a connection (tcp://). */
    readonly method: string;
    readonly url: string;
    readonly headers: Readonly<Record<string, string>>;
  };
  /** `pod` is the proxy that the request meets first. */
  readonly from: {
    readonly kind: "pod" | "outside";
    readonly pod: string;
    readonly spiffeId: string | null;
  };
  readonly steps: readonly Step[];
  readonly destinations: readonly Destination[];
  readonly outcomes: readonly Outcome[];
  readonly verdict: {
    /** Null: it depends on chance (weights, faults; see outcomes), or TCP reaches the app: it has no status. */
    readonly status: number | null;
    readonly reachesApp: boolean;
    readonly text: string;
  };
}
