import type { WorkloadIr } from "#ir/index.ts";
import { OpenTelemetryConfigSchema } from "#xds/gen/envoy/config/trace/v3/opentelemetry_pb.js";
import type { WriteContext } from "./context.ts";
import { extension, type Json } from "./resource.ts";

function serviceName(ir: WorkloadIr): string {
  return `${ir.labels.app ?? ir.name}.${ir.namespace}`;
}

/** Everything of the workload that its spans carry: proxies that agree in it may share a connection manager. */
export function spanIdentity(ir: WorkloadIr): string {
  return [serviceName(ir), ir.namespace, ...canonical(ir)].join();
}

function canonical({ labels, name }: WorkloadIr): [service: string, revision: string] {
  return [
    labels["service.istio.io/canonical-name"] ?? labels["app"] ?? name,
    labels["service.istio.io/canonical-revision"] ?? labels["version"] ?? "latest",
  ];
}

/** As istiod writes them, less those of dry-run authorization. */
function customTags(context: WriteContext, ir: WorkloadIr): Json[] {
  const [service, revision] = canonical(ir);
  const tags = {
    "istio.canonical_revision": revision,
    "istio.canonical_service": service,
    "istio.cluster_id": "Kubernetes",
    "istio.mesh_id": context.trustDomain,
    "istio.namespace": ir.namespace,
  };
  return Object.entries(tags).map(([tag, value]) => ({ tag, literal: { value } }));
}

/** Tracing of a connection manager; without a receiver the sampling fields stay, as istiod leaves them. */
export function tracing(context: WriteContext, ir: WorkloadIr): Json {
  const provider: Json =
    context.otlpPath === null
      ? {}
      : {
          provider: extension("envoy.tracers.opentelemetry", OpenTelemetryConfigSchema, {
            http_service: {
              http_uri: { uri: "http://weft-otlp/v1/traces", cluster: "weft-otlp", timeout: "1s" },
            },
            service_name: serviceName(ir),
          }),
        };
  return {
    tracing: {
      client_sampling: { value: 100 },
      random_sampling: { value: context.traceSampling ?? 0 },
      overall_sampling: { value: 100 },
      custom_tags: customTags(context, ir),
      ...provider,
    },
  };
}
