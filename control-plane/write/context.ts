import type { ClusterRef, SourceRef } from "#ir/index.ts";
import type { Json } from "./resource.ts";

/** What the mesh, not the workload, decides about the resources. */
export interface WriteContext {
  readonly flavour: "envoy-stock" | "weft";
  readonly accessLog: boolean;
  /** Percent, 0..100; null = no tracing. */
  readonly traceSampling: number | null;
  /** Path of the OTLP socket, as the proxies see it. */
  readonly otlpPath: string | null;
  readonly trustDomain: string;
}

/** outbound|PORT|SUBSET|HOST, as istiod names it. */
export function clusterName(ref: ClusterRef): string {
  return `outbound|${ref.port}|${ref.subset}|${ref.host}`;
}

/**
 * The cluster for raw bytes to a port whose protocol nobody declared; `clusterName` is the one for HTTP. The callee
 * chooses its filter chain by the ALPN of the handshake, so that the two uses differ in what they offer. istiod has one
 * cluster and a filter (istio.alpn) that Envoy lacks. Endpoints are those of `clusterName`.
 */
export function tcpClusterName(ref: ClusterRef): string {
  return `outbound-tcp|${ref.port}|${ref.subset}|${ref.host}`;
}

/** istiod's `istio.config` path, and the file and line for explain. */
export function sourceMetadata(source: SourceRef | null): Json | null {
  if (source === null) return null;
  const kind = source.kind.replace(/([a-z0-9])([A-Z])/g, "$1-$2").toLowerCase();
  const group = source.group === "" ? "core" : source.group;
  return {
    filter_metadata: {
      istio: {
        config: `/apis/${group}/${source.version}/namespaces/${source.namespace}/${kind}/${source.name}`,
      },
      weft: { source: `${source.file}:${source.line}` },
    },
  };
}

/** Where a pod of explicit mode reaches the virtual address of a Service; `servicePrefix` is its own two first octets. */
export function explicitAddress(servicePrefix: string, address: string): string {
  return `${servicePrefix}.${address.split(".").slice(2).join(".")}`;
}
