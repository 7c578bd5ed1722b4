// hot path
/** Which series a request counts in. Looked up by object identity; labels are joined once per peer, not per request. */
import { chooseTransport } from "../cluster/balancer.ts";
import type { Accepted } from "../inbound.ts";
import type { Cluster, Host, Metadata, Snapshot } from "../snapshot.ts";
import { HttpSeries, type Subject, TcpSeries } from "./istio-metrics.ts";
import type { MetricRegistry } from "./metrics.ts";
import { type Peer, peerOfEndpoint, peerOfPrincipal, UNKNOWN_PEER, WorkloadsByAddress } from "./peer.ts";

/** Everything that a label is made of; where one is another object, the series is looked for anew. */
interface Entry {
  readonly cluster: Cluster | null;
  readonly metadata: Metadata | null;
  readonly http: HttpSeries;
  readonly subject: Subject;
}

const NO_METADATA: Metadata = {};
/** Our own SPIFFE id, or "". */
type OwnIdentity = () => string;
type CurrentSnapshot = () => Snapshot;

export class RequestMetrics {
  readonly #registry: MetricRegistry;
  readonly #self: Peer;
  readonly #principal: OwnIdentity;
  readonly #byHost = new WeakMap<Host, Entry>(); // cold: once per process
  readonly #byConnection = new WeakMap<Accepted, Entry>(); // cold: once per process
  readonly #byCluster = new WeakMap<Cluster, Entry>(); // cold: once per process
  readonly #http = new Map<string, HttpSeries>(); // cold: once per process
  readonly #tcp = new Map<string, TcpSeries>(); // cold: once per process
  readonly #snapshot: CurrentSnapshot;
  readonly #workloads = new WorkloadsByAddress();
  #lost: Entry | null = null;

  constructor(registry: MetricRegistry, self: Peer, principal: OwnIdentity, snapshot: CurrentSnapshot) {
    this.#registry = registry;
    this.#self = self;
    this.#principal = principal;
    this.#snapshot = snapshot;
  }

  http(accepted: Accepted, cluster: Cluster | null, host: Host | null): HttpSeries {
    return this.#entry(accepted, cluster, host).http;
  }

  /** Once per connection. */
  tcp(accepted: Accepted, cluster: Cluster | null, host: Host | null, flag: string): TcpSeries {
    const { subject } = this.#entry(accepted, cluster, host);
    const key = `${flag}|${JSON.stringify(subject)}`;
    let series = this.#tcp.get(key);
    if (series === undefined) {
      series = new TcpSeries(this.#registry, subject, flag);
      this.#tcp.set(key, series);
    }
    return series;
  }

  #entry(accepted: Accepted, cluster: Cluster | null, host: Host | null): Entry {
    if (accepted.listener.direction === "INBOUND") {
      const known = this.#byConnection.get(accepted);
      if (known !== undefined && known.cluster === cluster) return known;
      const entry = this.#make(cluster, null, this.#inbound(accepted, cluster));
      this.#byConnection.set(accepted, entry);
      return entry;
    }
    if (host !== null && cluster !== null) {
      const known = this.#byHost.get(host);
      if (known !== undefined && known.cluster === cluster && known.metadata === host.metadata) return known;
      const entry = this.#make(cluster, host.metadata, this.#outbound(cluster, host));
      this.#byHost.set(host, entry);
      return entry;
    }
    if (cluster !== null) {
      const known = this.#byCluster.get(cluster);
      if (known !== undefined) return known;
      const entry = this.#make(cluster, NO_METADATA, this.#outbound(cluster, null));
      this.#byCluster.set(cluster, entry);
      return entry;
    }
    this.#lost ??= this.#make(null, null, this.#outbound(null, null));
    return this.#lost;
  }

  #make(cluster: Cluster | null, metadata: Metadata | null, subject: Subject): Entry {
    const key = JSON.stringify(subject);
    let http = this.#http.get(key);
    if (http === undefined) {
      http = new HttpSeries(this.#registry, subject);
      this.#http.set(key, http);
    }
    return { cluster, metadata, http, subject };
  }

  #inbound(accepted: Accepted, cluster: Cluster | null): Subject {
    const [principal = ""] = accepted.facts.peerIdentities;
    const service = cluster?.istio.services[0];
    return {
      reporter: "destination",
      source: this.#workloads.find(
        this.#snapshot(),
        accepted.facts.sourceAddress,
        peerOfPrincipal(principal),
      ),
      sourcePrincipal: principal,
      destination: this.#self,
      destinationPrincipal: principal === "" ? "" : this.#principal(),
      destinationService:
        service?.host ?? (cluster?.name === "InboundPassthroughCluster" ? cluster.name : ""),
      destinationServiceName: service?.name ?? (cluster?.name.includes("Passthrough") ? cluster.name : ""),
      destinationServiceNamespace: service?.namespace ?? this.#self.namespace,
      connectionSecurityPolicy: principal === "" ? "none" : "mutual_tls",
    };
  }

  #outbound(cluster: Cluster | null, host: Host | null): Subject {
    const tls = cluster === null || host === null ? null : chooseTransport(cluster, host).tls;
    const service = cluster?.istio.services[0];
    const [wanted] = tls?.validation.subjectAltNames ?? [];
    const named = cluster === null || service !== undefined ? "" : cluster.name;
    return {
      reporter: "source",
      source: this.#self,
      sourcePrincipal: tls === null ? "" : this.#principal(),
      destination: host === null ? UNKNOWN_PEER : peerOfEndpoint(host.metadata),
      // Secure naming: a connection to the host stands only if it proved one of these.
      destinationPrincipal:
        wanted?.kind === "exact" && wanted.text.startsWith("spiffe://") ? wanted.text : "",
      destinationService: service?.host ?? named,
      destinationServiceName: service?.name ?? named,
      destinationServiceNamespace: service?.namespace ?? "",
      // The client cannot tell: the server's report says it (Istio's own rule).
      connectionSecurityPolicy: "unknown",
    };
  }
}
