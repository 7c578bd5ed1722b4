import type { Counter, Histogram, Labels, MetricRegistry } from "./metrics.ts";
import type { Peer } from "./peer.ts";

/** Who and what a series is about: Istio's standard label set (istio.io/latest/docs/reference/config/metrics). */
export interface Subject {
  readonly reporter: "source" | "destination";
  readonly source: Peer;
  readonly sourcePrincipal: string;
  readonly destination: Peer;
  readonly destinationPrincipal: string;
  readonly destinationService: string;
  readonly destinationServiceName: string;
  readonly destinationServiceNamespace: string;
  readonly connectionSecurityPolicy: "mutual_tls" | "none" | "unknown";
}

const UNKNOWN = "unknown";

function subjectLabels(s: Subject, protocol: string): (readonly [string, string])[] {
  const { source, destination } = s;
  return [
    ["reporter", s.reporter],
    ["source_workload", source.workload || UNKNOWN],
    ["source_canonical_service", source.canonicalService || UNKNOWN],
    ["source_canonical_revision", source.canonicalRevision || "latest"],
    ["source_workload_namespace", source.namespace || UNKNOWN],
    ["source_principal", s.sourcePrincipal || UNKNOWN],
    ["source_app", source.app || UNKNOWN],
    ["source_version", source.version || UNKNOWN],
    ["source_cluster", source.cluster || UNKNOWN],
    ["destination_workload", destination.workload || UNKNOWN],
    ["destination_workload_namespace", destination.namespace || UNKNOWN],
    ["destination_principal", s.destinationPrincipal || UNKNOWN],
    ["destination_app", destination.app || UNKNOWN],
    ["destination_version", destination.version || UNKNOWN],
    ["destination_service", s.destinationService || UNKNOWN],
    ["destination_canonical_service", destination.canonicalService || UNKNOWN],
    ["destination_canonical_revision", destination.canonicalRevision || "latest"],
    ["destination_service_name", s.destinationServiceName || UNKNOWN],
    ["destination_service_namespace", s.destinationServiceNamespace || UNKNOWN],
    ["destination_cluster", destination.cluster || UNKNOWN],
    ["request_protocol", protocol],
    ["connection_security_policy", s.connectionSecurityPolicy],
  ];
}

/** The four HTTP series of one (subject, protocol, code, flags). */
export class RequestSeries {
  readonly requests: Counter;
  readonly duration: Histogram;
  readonly requestBytes: Histogram;
  readonly responseBytes: Histogram;
  constructor(registry: MetricRegistry, labels: Labels) {
    this.requests = registry.counter("istio_requests_total", "Requests handled.", labels);
    this.duration = registry.histogram(
      "istio_request_duration_milliseconds",
      "Request duration, ms.",
      labels,
    );
    this.requestBytes = registry.histogram("istio_request_bytes", "Request body bytes.", labels);
    this.responseBytes = registry.histogram("istio_response_bytes", "Response body bytes.", labels);
  }
  record(durationMs: number, requestBytes: number, responseBytes: number): void {
    this.requests.inc();
    this.duration.observe(durationMs);
    this.requestBytes.observe(requestBytes);
    this.responseBytes.observe(responseBytes);
  }
}

/** HTTP series of one subject. Made once per (cluster, peer); codes are found by number, not by joined label text. */
export class HttpSeries {
  readonly #registry: MetricRegistry;
  readonly #base: (readonly [string, string])[];
  readonly #byCode = new Map<number, RequestSeries>();
  readonly #byFlags = new Map<string, RequestSeries>();

  constructor(registry: MetricRegistry, subject: Subject, protocol: "http" | "grpc" = "http") {
    this.#registry = registry;
    this.#base = subjectLabels(subject, protocol);
  }
  /** `flags` are Envoy's response flags, "-" or "" for none; `grpcStatus` -1 when not gRPC. */
  of(code: number, flags: string, grpcStatus = -1): RequestSeries {
    if ((flags === "-" || flags === "") && grpcStatus < 0) {
      let series = this.#byCode.get(code);
      if (series === undefined) {
        series = new RequestSeries(this.#registry, this.#labels(code, "-", ""));
        this.#byCode.set(code, series);
      }
      return series;
    }
    const key = `${code}|${flags}|${grpcStatus}`;
    let series = this.#byFlags.get(key);
    if (series === undefined) {
      series = new RequestSeries(
        this.#registry,
        this.#labels(code, flags || "-", grpcStatus < 0 ? "" : `${grpcStatus}`),
      );
      this.#byFlags.set(key, series);
    }
    return series;
  }
  #labels(code: number, flags: string, grpc: string): Labels {
    return [
      ...this.#base,
      ["response_code", `${code}`],
      ["grpc_response_status", grpc],
      ["response_flags", flags],
    ];
  }
}

export class TcpSeries {
  readonly opened: Counter;
  readonly closed: Counter;
  readonly sentBytes: Counter;
  readonly receivedBytes: Counter;
  constructor(registry: MetricRegistry, subject: Subject, flags = "-") {
    const labels: Labels = [...subjectLabels(subject, "tcp"), ["response_flags", flags]];
    this.opened = registry.counter("istio_tcp_connections_opened_total", "TCP connections opened.", labels);
    this.closed = registry.counter("istio_tcp_connections_closed_total", "TCP connections closed.", labels);
    this.sentBytes = registry.counter("istio_tcp_sent_bytes_total", "Bytes sent in response.", labels);
    this.receivedBytes = registry.counter("istio_tcp_received_bytes_total", "Bytes received.", labels);
  }
}
