/** Answers of the proxy's admin page, in Envoy's shapes where Envoy has the page. Imports nothing. */
export interface ServerInfo {
  readonly version: string;
  readonly state: "LIVE" | "DRAINING" | "PRE_INITIALIZING";
  readonly uptime_current_epoch: string;
  readonly node: { readonly id: string; readonly cluster: string };
}

export interface ListenerStatus {
  readonly name: string;
  readonly local_address: {
    readonly socket_address: { readonly address: string; readonly port_value: number };
  };
}
export interface ListenersAnswer {
  readonly listener_statuses: readonly ListenerStatus[];
}

export interface HostStatus {
  readonly address: string;
  readonly port: number;
  readonly health: string;
  readonly weight: number;
  readonly activeRequests: number;
  readonly ejected: boolean;
}
export interface ClustersAnswer {
  readonly cluster_statuses: readonly {
    readonly name: string;
    readonly host_statuses: readonly HostStatus[];
  }[];
}

export interface CertificateInfo {
  readonly spiffeId: string;
  /** ISO 8601. */
  readonly validFrom: string;
  readonly expirationTime: string;
  readonly roots: number;
}
export interface CertsAnswer {
  readonly certificates: readonly CertificateInfo[];
}
