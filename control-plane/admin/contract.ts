/** What the admin socket answers (docs/contracts.md). Imports nothing: windows and tests share it. */

export interface StatusAnswer {
  /** Version of the world, as in WorldAnswer. */
  readonly world: string;
  readonly proxies: readonly {
    readonly nodeId: string;
    readonly connected: boolean;
    readonly types: Readonly<
      Record<
        string,
        {
          readonly sent: string;
          readonly acked: string;
          readonly nack?: string | null;
          /** Of a refusal: the objects behind it, as far as it tells; "VirtualService default/reviews". */
          readonly policies?: readonly {
            readonly object: string;
            readonly file: string;
            readonly line: number;
          }[];
          /** false: more is to come, which waits for what goes first. */
          readonly upToDate: boolean;
        }
      >
    >;
  }[];
}

export interface ListedObject {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  /** As its author knows it, also when it was applied. */
  readonly source: {
    readonly file: string;
    readonly line: number;
    /** When `weft apply` brought it (ISO text, "" = unknown); null: it is in the file. */
    readonly applied: string | null;
  };
  readonly warnings: readonly string[];
  /** The manifest as it was read: apiVersion, kind, metadata, spec ... */
  readonly object: Readonly<Record<string, unknown>>;
}
export interface ObjectsAnswer {
  readonly objects: readonly ListedObject[];
}

/** "Kind namespace/name" each; "Kind name" for cluster-scoped kinds. */
export interface AppliedAnswer {
  readonly applied: readonly string[];
  /** What proxies refused of it at once, and the objects behind that; absent: nothing within a second. */
  readonly refused?: readonly string[];
}
/** Body of PUT /objects, as JSON; or YAML, which stands for one text without a name. */
export interface NamedText {
  /** As it is to stand in errors, and as the folder that commands are relative to. */
  readonly file: string;
  readonly text: string;
}
/** Body of POST /objects/delete: `{all: true}` or `{objects: [...]}`. */
export interface NamedObject {
  /** May carry its group: Gateway.networking.istio.io. */
  readonly kind: string;
  /** "" or "-" for cluster-scoped kinds. */
  readonly namespace: string;
  readonly name: string;
}
export interface DeletedAnswer {
  readonly deleted: readonly string[];
  /** What could not be taken back, and why. */
  readonly errors: readonly string[];
}

export interface WorldAnswer {
  readonly version: string;
  /** Objects by kind. */
  readonly counts: Readonly<Record<string, number>>;
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
  /** Objects that still hold although their files do not have them any more: a save may be under way. */
  readonly awaited: readonly string[];
}

/** Where a statement stands: the object and the line (1-based) that made it. */
export interface SourceInfo {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly file: string;
  readonly line: number;
}

/** One pod with an address, and which security policies hold for it. */
export interface WorkloadInfo {
  readonly pod: string;
  /** The Deployment that owns it, or the pod's own name. */
  readonly workload: string;
  readonly namespace: string;
  readonly ip: string;
  readonly kind: "sidecar" | "gateway";
  readonly spiffeId: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ready: boolean;
  /** Explicit only: the first two octets of the addresses at which this pod reaches services; null = transparent. */
  readonly servicePrefix: string | null;
  readonly inbound: readonly {
    readonly port: number;
    readonly servicePort: number | null;
    readonly protocol: string;
    readonly mtls: "STRICT" | "PERMISSIVE" | "DISABLE";
    /** The PeerAuthentication that decided; null = the default. */
    readonly mtlsSource: SourceInfo | null;
  }[];
  /** Of ports that are not in `inbound`. */
  readonly defaultMtls: {
    readonly mode: "STRICT" | "PERMISSIVE" | "DISABLE";
    readonly source: SourceInfo | null;
  };
  /** In the order of evaluation. */
  readonly authorization: readonly {
    readonly action: "AUDIT" | "DENY" | "ALLOW";
    readonly dryRun: boolean;
    readonly source: SourceInfo;
    /** Position in the policy's `rules`, as in the RBAC policy name. */
    readonly rules: readonly { readonly index: number; readonly source: SourceInfo }[];
  }[];
}
export interface ServiceInfo {
  /** Full host name. */
  readonly host: string;
  readonly name: string;
  readonly namespace: string;
  readonly addresses: readonly string[];
  readonly ports: readonly { readonly name: string; readonly number: number; readonly protocol: string }[];
  /** ExternalName Services that are other names of it. */
  readonly aliases: readonly { readonly name: string; readonly namespace: string }[];
  /** Of a headless one: its pods, by the label before its name, and where they are. */
  readonly instances: readonly { readonly name: string; readonly address: string }[];
  readonly source: SourceInfo;
}
/** GET /workloads */
export interface WorkloadsAnswer {
  readonly workloads: readonly WorkloadInfo[];
  readonly services: readonly ServiceInfo[];
}

export interface TraceSummaryAnswer {
  readonly traceId: string;
  readonly root: string;
  readonly service: string;
  /** ms since the epoch. */
  readonly startMs: number;
  readonly durationMs: number;
  readonly spans: number;
  readonly error: boolean;
  /** With `?whole=true`: the spans by start time. */
  readonly whole?: TraceAnswer["spans"];
}
export interface TracesAnswer {
  /** Newest first. */
  readonly traces: readonly TraceSummaryAnswer[];
  /** Every service that has a span in any trace that is kept: what `service` can be. */
  readonly services: readonly string[];
}
/** The spans of one trace by start time. */
export interface TraceAnswer {
  readonly spans: readonly {
    readonly traceId: string;
    readonly spanId: string;
    /** "" for a root. */
    readonly parentSpanId: string;
    readonly name: string;
    readonly kind: string;
    readonly service: string;
    readonly startMs: number;
    readonly endMs: number;
    readonly attributes: Readonly<Record<string, string | number | boolean>>;
    readonly error: boolean;
  }[];
}

/** Type URL -> resources as proto3 JSON. */
export type XdsAnswer = Readonly<Record<string, readonly unknown[]>>;

export interface HealthAnswer {
  readonly ok: boolean;
}
/** Every answer from 400 up carries one of these. */
export interface ErrorAnswer {
  readonly error: string;
}
export interface ErrorsAnswer {
  readonly errors: readonly string[];
}
