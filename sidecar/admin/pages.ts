/** What the admin pages tell of a snapshot and its secret. */
import { fromPem, readCertificate } from "#certs/x509/index.ts";
import type { Cluster, Host, Snapshot } from "../snapshot.ts";
import type { TlsSecret } from "../tls/secrets.ts";
import type {
  CertificateDetails,
  CertsAnswer,
  ClusterStatus,
  ClustersAnswer,
  ListenersAnswer,
  PipeAddress,
  SocketAddress,
} from "./contract.ts";

/** admin.v3.Clusters; `nowMs` is monotonic, to tell who is ejected. */
export function clustersAnswer(snapshot: Snapshot, nowMs: number): ClustersAnswer {
  return { cluster_statuses: [...snapshot.clusters.values()].map((c) => clusterStatus(c, nowMs)) };
}

function clusterStatus(c: Cluster, nowMs: number): ClusterStatus {
  return {
    name: c.name,
    added_via_api: true,
    observability_name: `${c.name};`,
    ...(c.edsServiceName === null ? {} : { eds_service_name: c.edsServiceName }),
    host_statuses: c.hosts.map((host) => ({
      address: addressOf(host),
      stats: [
        { type: "GAUGE", name: "cx_active", value: String(host.activeConnections) },
        { type: "GAUGE", name: "rq_active", value: String(host.activeRequests) },
      ],
      health_status: {
        eds_health_status: host.health,
        ...(host.ejectedUntilMs > nowMs ? { failed_outlier_check: true } : {}),
      },
      weight: host.weight,
      priority: host.priority,
      hostname: host.hostname,
    })),
    circuit_breakers: {
      thresholds: [
        {
          max_connections: c.maxConnections,
          max_pending_requests: c.maxPendingRequests,
          max_requests: c.maxRequests,
          max_retries: c.maxRetries,
        },
      ],
    },
  };
}

/** Envoy's `/clusters` without format=json: `cluster::what::value` and `cluster::host::what::value`. */
export function clustersText({ cluster_statuses }: ClustersAnswer): string {
  const lines: string[] = [];
  for (const c of cluster_statuses) {
    const limits = c.circuit_breakers.thresholds[0]!;
    lines.push(`${c.name}::observability_name::${c.observability_name}`);
    for (const [name, value] of Object.entries(limits))
      lines.push(`${c.name}::default_priority::${name}::${value}`);
    lines.push(`${c.name}::added_via_api::true`);
    if (c.eds_service_name !== undefined) lines.push(`${c.name}::eds_service_name::${c.eds_service_name}`);
    for (const host of c.host_statuses) {
      const where = `${c.name}::${textOf(host.address)}`;
      for (const { name, value } of host.stats) lines.push(`${where}::${name}::${value}`);
      const { eds_health_status: health, failed_outlier_check: ejected } = host.health_status;
      const flags = [
        ...(health === "UNHEALTHY" || health === "DRAINING" || health === "TIMEOUT"
          ? ["/failed_eds_health"]
          : []),
        ...(ejected ? ["/failed_outlier_check"] : []),
      ];
      lines.push(
        `${where}::hostname::${host.hostname}`,
        `${where}::health_flags::${flags.join("") || "healthy"}`,
        `${where}::weight::${host.weight}`,
        `${where}::priority::${host.priority}`,
      );
    }
  }
  return lines.map((line) => `${line}\n`).join("");
}

/** admin.v3.Listeners. */
export function listenersAnswer(snapshot: Snapshot): ListenersAnswer {
  return {
    listener_statuses: [...snapshot.listeners.values()].map(({ name, address, port, pipe }) => ({
      name,
      local_address: addressOf({ address, port, pipe }),
    })),
  };
}

/** NAME::ADDRESS, as Envoy prints it. */
export function listenersText({ listener_statuses }: ListenersAnswer): string {
  return listener_statuses.map(({ name, local_address }) => `${name}::${textOf(local_address)}\n`).join("");
}

/** admin.v3.Certificates; `nowMs` since the epoch. */
export function certsAnswer(secret: TlsSecret | null, nowMs: number): CertsAnswer {
  if (secret === null) return { certificates: [] };
  const details = (pem: string): CertificateDetails[] =>
    fromPem("CERTIFICATE", pem).map((der) => {
      const { x509, uris, notBefore, notAfter } = readCertificate(der);
      return {
        path: "<inline>",
        serial_number: x509.serialNumber.toLowerCase(),
        subject_alt_names: uris.map((uri) => ({ uri })),
        days_until_expiration: String(Math.max(0, Math.floor((notAfter - nowMs) / 86_400_000))),
        valid_from: seconds(notBefore),
        expiration_time: seconds(notAfter),
      };
    });
  return { certificates: [{ ca_cert: details(secret.rootsPem), cert_chain: details(secret.chainPem) }] };
}

function seconds(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

function addressOf({
  address,
  port,
  pipe,
}: Pick<Host, "address" | "port" | "pipe">): SocketAddress | PipeAddress {
  return pipe === null ? { socket_address: { address, port_value: port } } : { pipe: { path: pipe } };
}

function textOf(address: SocketAddress | PipeAddress): string {
  if ("pipe" in address) return address.pipe.path;
  const { address: ip, port_value: port } = address.socket_address;
  return ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
}
