import type { EndpointIr } from "#ir/index.ts";
import { ClusterLoadAssignmentSchema } from "#xds/gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { type Json, type Resource, resource, socketAddress } from "./resource.ts";

/** ClusterLoadAssignment as JSON; endpoints that are not ready are left out, as istiod does by default. */
export function loadAssignment(cluster: string, endpoints: readonly EndpointIr[]): Json {
  const ready = endpoints.filter((e) => e.ready);
  if (ready.length === 0) return { cluster_name: cluster };
  return {
    cluster_name: cluster,
    endpoints: [
      {
        lb_endpoints: ready.map(lbEndpoint),
        load_balancing_weight: ready.reduce((sum, e) => sum + e.weight, 0),
        locality: {},
      },
    ],
  };
}

function lbEndpoint(e: EndpointIr): Json {
  const w = e.workload;
  const metadata: Json = {
    ...(e.meshTls ? { "envoy.transport_socket_match": { tlsMode: "istio" } } : {}),
    ...(w === null
      ? {}
      : {
          istio: {
            workload: `${w.name};${w.namespace};${w.canonicalName};${w.canonicalRevision};Kubernetes`,
          },
        }),
  };
  return {
    endpoint: { address: socketAddress(e.address, e.port) },
    health_status: "HEALTHY",
    metadata: { filter_metadata: metadata },
    load_balancing_weight: e.weight,
  };
}

export function writeEndpoints(cluster: string, endpoints: readonly EndpointIr[]): Resource {
  return resource(ClusterLoadAssignmentSchema, cluster, loadAssignment(cluster, endpoints));
}
