/** The message types that may stand in an Any of a configuration, for reading and writing proto3 JSON. */
import {
  create,
  createFileRegistry,
  createRegistry,
  type DescMessage,
  type Registry,
} from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema, StructSchema } from "@bufbuild/protobuf/wkt";
import { ClusterSchema } from "#xds/gen/envoy/config/cluster/v3/cluster_pb.js";
import { ClusterLoadAssignmentSchema } from "#xds/gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { ListenerSchema } from "#xds/gen/envoy/config/listener/v3/listener_pb.js";
import { RouteConfigurationSchema } from "#xds/gen/envoy/config/route/v3/route_pb.js";
import { OpenTelemetryConfigSchema } from "#xds/gen/envoy/config/trace/v3/opentelemetry_pb.js";
import { FileAccessLogSchema } from "#xds/gen/envoy/extensions/access_loggers/file/v3/file_pb.js";
import {
  StderrAccessLogSchema,
  StdoutAccessLogSchema,
} from "#xds/gen/envoy/extensions/access_loggers/stream/v3/stream_pb.js";
import { ClusterConfigSchema } from "#xds/gen/envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster_pb.js";
import { CorsPolicySchema, CorsSchema } from "#xds/gen/envoy/extensions/filters/http/cors/v3/cors_pb.js";
import { FilterConfigSchema as OutsideFilterSchema } from "#xds/gen/envoy/extensions/filters/http/dynamic_forward_proxy/v3/dynamic_forward_proxy_pb.js";
import { HTTPFaultSchema } from "#xds/gen/envoy/extensions/filters/http/fault/v3/fault_pb.js";
import { FilterConfigSchema as GrpcStatsSchema } from "#xds/gen/envoy/extensions/filters/http/grpc_stats/v3/config_pb.js";
import {
  RBACSchema as HttpRbacSchema,
  RBACPerRouteSchema,
} from "#xds/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import { RouterSchema } from "#xds/gen/envoy/extensions/filters/http/router/v3/router_pb.js";
import { HttpInspectorSchema } from "#xds/gen/envoy/extensions/filters/listener/http_inspector/v3/http_inspector_pb.js";
import { OriginalDstSchema } from "#xds/gen/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.js";
import { TlsInspectorSchema } from "#xds/gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js";
import { HttpConnectionManagerSchema } from "#xds/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { RBACSchema } from "#xds/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js";
import { TcpProxySchema } from "#xds/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js";
import { UriTemplateMatchConfigSchema } from "#xds/gen/envoy/extensions/path/match/uri_template/v3/uri_template_match_pb.js";
import { UuidRequestIdConfigSchema } from "#xds/gen/envoy/extensions/request_id/uuid/v3/uuid_pb.js";
import { PreviousHostsPredicateSchema } from "#xds/gen/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts_pb.js";
import { PreviousPrioritiesConfigSchema } from "#xds/gen/envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config_pb.js";
import { RawBufferSchema } from "#xds/gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.js";
import {
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from "#xds/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import { HttpProtocolOptionsSchema } from "#xds/gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js";
import { TypedStructSchema as UdpaTypedStructSchema } from "#xds/gen/udpa/type/v1/typed_struct_pb.js";
import { TypedStructSchema } from "#xds/gen/xds/type/v3/typed_struct_pb.js";

const KNOWN: readonly DescMessage[] = [
  ClusterSchema,
  ClusterLoadAssignmentSchema,
  ListenerSchema,
  RouteConfigurationSchema,
  OpenTelemetryConfigSchema,
  FileAccessLogSchema,
  StdoutAccessLogSchema,
  StderrAccessLogSchema,
  CorsSchema,
  CorsPolicySchema,
  HTTPFaultSchema,
  ClusterConfigSchema,
  OutsideFilterSchema,
  GrpcStatsSchema,
  HttpRbacSchema,
  RBACPerRouteSchema,
  RouterSchema,
  HttpInspectorSchema,
  OriginalDstSchema,
  TlsInspectorSchema,
  HttpConnectionManagerSchema,
  RBACSchema,
  TcpProxySchema,
  UriTemplateMatchConfigSchema,
  UuidRequestIdConfigSchema,
  PreviousHostsPredicateSchema,
  PreviousPrioritiesConfigSchema,
  RawBufferSchema,
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
  HttpProtocolOptionsSchema,
  StructSchema,
  TypedStructSchema,
  UdpaTypedStructSchema,
];

/** The known types, and a message without fields for each name in `unknown`: its name is what counts. */
export function configRegistry(unknown: Iterable<string> = []): Registry {
  const known = createRegistry(...KNOWN);
  const file = [...unknown]
    .filter((name) => known.getMessage(name) === undefined)
    .map((name) =>
      create(FileDescriptorProtoSchema, {
        name: `${name}.proto`,
        syntax: "proto3",
        package: name.slice(0, name.lastIndexOf(".")),
        messageType: [{ name: name.slice(name.lastIndexOf(".") + 1) }],
      }),
    );
  return createRegistry(known, createFileRegistry(create(FileDescriptorSetSchema, { file })));
}
