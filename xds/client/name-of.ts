import { type Any, anyUnpack } from "@bufbuild/protobuf/wkt";
import { ClusterSchema } from "../gen/envoy/config/cluster/v3/cluster_pb.js";
import { ClusterLoadAssignmentSchema } from "../gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { ListenerSchema } from "../gen/envoy/config/listener/v3/listener_pb.js";
import { RouteConfigurationSchema } from "../gen/envoy/config/route/v3/route_pb.js";
import { SecretSchema } from "../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";

/** The name of a resource of a SotW response, which carries it only inside; "" for nameless types. */
export function nameOf(any: Any): string {
  const assignment = anyUnpack(any, ClusterLoadAssignmentSchema);
  if (assignment !== undefined) return assignment.clusterName;
  for (const schema of [ClusterSchema, ListenerSchema, RouteConfigurationSchema, SecretSchema] as const) {
    const message = anyUnpack(any, schema);
    if (message !== undefined) return message.name;
  }
  return "";
}
