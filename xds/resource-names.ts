/** Cluster names as istiod writes them (pilot/pkg/model/service.go BuildSubsetKey, BuildDNSSrvSubsetKey). */
export interface ClusterName {
  readonly direction: "outbound" | "inbound";
  readonly port: number;
  /** Empty for the cluster of the whole service. */
  readonly subset: string;
  /** Fully qualified host; empty for inbound. */
  readonly host: string;
}

export const PASSTHROUGH = "PassthroughCluster";
export const INBOUND_PASSTHROUGH = "InboundPassthroughCluster";
export const BLACK_HOLE = "BlackHoleCluster";

export function outboundCluster(port: number, subset: string, host: string): string {
  return `outbound|${port}|${subset}|${host}`;
}

/** `port` is the port of the workload, not of the service. */
export function inboundCluster(port: number): string {
  return `inbound|${port}||`;
}

/** The same key as SNI: the default server name of mesh mTLS. */
export function outboundSni(port: number, subset: string, host: string): string {
  return `outbound_.${port}_.${subset}_.${host}`;
}

/** Undefined for names of another form, such as PassthroughCluster. */
export function parseClusterName(name: string): ClusterName | undefined {
  return parse(name.split("|"));
}

export function parseSni(sni: string): ClusterName | undefined {
  return parse(sni.split("_."));
}

function parse(parts: string[]): ClusterName | undefined {
  const [direction, port, subset, host] = parts;
  if (parts.length !== 4 || (direction !== "outbound" && direction !== "inbound")) return undefined;
  if (port === undefined || !/^\d{1,5}$/.test(port) || Number(port) > 65535) return undefined;
  return { direction, port: Number(port), subset: subset ?? "", host: host ?? "" };
}
