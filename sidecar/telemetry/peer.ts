import { parseSpiffeId, serviceAccountOf } from "#certs/spiffe.ts";
import type { Metadata, Snapshot } from "../snapshot.ts";

/** A workload as metric labels name it; "" = unknown. */
export interface Peer {
  readonly workload: string;
  readonly namespace: string;
  readonly app: string;
  readonly version: string;
  readonly canonicalService: string;
  readonly canonicalRevision: string;
  readonly cluster: string;
}

export const UNKNOWN_PEER: Peer = {
  workload: "",
  namespace: "",
  app: "",
  version: "",
  canonicalService: "",
  canonicalRevision: "",
  cluster: "",
};

/** From node metadata: WORKLOAD_NAME, NAMESPACE, LABELS, CLUSTER_ID. */
export function peerOfNode(metadata: Readonly<Record<string, unknown>>): Peer {
  const text = (value: unknown): string => (typeof value === "string" ? value : "");
  const labels = (metadata["LABELS"] ?? {}) as Record<string, unknown>;
  const workload = text(metadata["WORKLOAD_NAME"]);
  const app = text(labels["app"]) || text(labels["app.kubernetes.io/name"]);
  return {
    workload,
    namespace: text(metadata["NAMESPACE"]),
    app,
    version: text(labels["version"]) || text(labels["app.kubernetes.io/version"]),
    canonicalService: text(labels["service.istio.io/canonical-name"]) || app || workload,
    canonicalRevision:
      text(labels["service.istio.io/canonical-revision"]) || text(labels["version"]) || "latest",
    cluster: text(metadata["CLUSTER_ID"]),
  };
}

/** istiod's endpoint metadata: "workload;namespace;canonical name;canonical revision;cluster". */
export function peerOfEndpoint(metadata: Metadata): Peer {
  const value = metadata["istio"]?.["workload"];
  if (typeof value !== "string") return UNKNOWN_PEER;
  const [workload = "", namespace = "", name = "", revision = "", cluster = ""] = value.split(";");
  return {
    workload,
    namespace,
    // The labels themselves do not travel; the canonical names are made of them.
    app: name,
    version: revision,
    canonicalService: name,
    canonicalRevision: revision || "latest",
    cluster,
  };
}

/** What a proven identity says of its holder: the namespace, and no workload (several may share an account). */
export function peerOfPrincipal(principal: string): Peer {
  const id = principal === "" ? null : parseSpiffeId(principal);
  if (id === null || "error" in id) return UNKNOWN_PEER;
  return { ...UNKNOWN_PEER, namespace: serviceAccountOf(id)?.namespace ?? "" };
}

/** Istio's workload discovery without another protocol: endpoints carry their workload, callers have their addresses. */
export class WorkloadsByAddress {
  #snapshot: Snapshot | null = null;
  #byAddress = new Map<string, Metadata>();

  /** `proven` is what the caller's identity says: an address is believed only where it does not contradict that. */
  find(snapshot: Snapshot, address: string, proven: Peer): Peer {
    if (snapshot !== this.#snapshot) this.#index(snapshot);
    const metadata = this.#byAddress.get(address);
    const peer = metadata === undefined ? UNKNOWN_PEER : peerOfEndpoint(metadata);
    return peer.workload !== "" && (proven.namespace === "" || proven.namespace === peer.namespace)
      ? peer
      : proven;
  }

  #index(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    this.#byAddress = new Map();
    for (const { hosts } of snapshot.clusters.values())
      for (const { address, metadata } of hosts) if (address !== "") this.#byAddress.set(address, metadata);
  }
}
