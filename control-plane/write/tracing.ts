import type { WorkloadIr } from "#ir/index.ts";
import { OpenTelemetryConfigSchema } from "#xds/gen/envoy/config/trace/v3/opentelemetry_pb.js";
import type { WriteContext } from "./context.ts";
import { extension, type Json } from "./resource.ts";

export function serviceName(ir: WorkloadIr): string {
  return `${ir.labels.app ?? ir.name}.${ir.namespace}`;
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
      ...provider,
    },
  };
}
