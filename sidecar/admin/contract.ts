/** Answers of the proxy's admin page, in Envoy's shapes where Envoy has the page. Imports nothing. */
export interface ServerInfo {
  readonly version: string;
  readonly state: "LIVE" | "DRAINING" | "PRE_INITIALIZING";
  readonly uptime_current_epoch: string;
  readonly uptime_all_epochs: string;
  readonly hot_restart_version: "disabled";
  readonly command_line_options: {
    readonly concurrency: number;
    readonly drain_time: string;
    readonly log_level: string;
    readonly mode: "Serve";
  };
  readonly node: {
    readonly id: string;
    readonly cluster: string;
    readonly metadata: Readonly<Record<string, unknown>>;
  };
}

export interface SocketAddress {
  readonly socket_address: { readonly address: string; readonly port_value: number };
}
export interface PipeAddress {
  readonly pipe: { readonly path: string };
}

export interface ListenersAnswer {
  readonly listener_statuses: readonly {
    readonly name: string;
    readonly local_address: SocketAddress | PipeAddress;
  }[];
}

export interface HostStatus {
  readonly address: SocketAddress | PipeAddress;
  readonly stats: readonly {
    readonly type: "GAUGE" | "COUNTER";
    readonly name: string;
    readonly value: string;
  }[];
  readonly health_status: {
    readonly eds_health_status: string;
    readonly failed_outlier_check?: true;
  };
  readonly weight: number;
  readonly priority: number;
  readonly hostname: string;
}
export interface ClusterStatus {
  readonly name: string;
  readonly added_via_api: true;
  readonly observability_name: string;
  readonly eds_service_name?: string;
  readonly host_statuses: readonly HostStatus[];
  readonly circuit_breakers: {
    readonly thresholds: readonly {
      readonly max_connections: number;
      readonly max_pending_requests: number;
      readonly max_requests: number;
      readonly max_retries: number;
    }[];
  };
}
export interface ClustersAnswer {
  readonly cluster_statuses: readonly ClusterStatus[];
}

export interface CertificateDetails {
  readonly path: string;
  readonly serial_number: string;
  readonly subject_alt_names: readonly { readonly uri: string }[];
  readonly days_until_expiration: string;
  /** ISO 8601. */
  readonly valid_from: string;
  readonly expiration_time: string;
}
export interface CertsAnswer {
  readonly certificates: readonly {
    readonly ca_cert: readonly CertificateDetails[];
    readonly cert_chain: readonly CertificateDetails[];
  }[];
}
