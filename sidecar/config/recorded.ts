/** Test support: recorded istiod responses (protojson) as the Any values that came over the wire. */
import { existsSync, readFileSync } from "node:fs";
import {
  create,
  createFileRegistry,
  createRegistry,
  fromJson,
  type JsonValue,
  type Registry,
} from "@bufbuild/protobuf";
import {
  type Any,
  AnySchema,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  StructSchema,
} from "@bufbuild/protobuf/wkt";
import { ClusterSchema } from "#xds/gen/envoy/config/cluster/v3/cluster_pb.js";
import { ClusterLoadAssignmentSchema } from "#xds/gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { ListenerSchema } from "#xds/gen/envoy/config/listener/v3/listener_pb.js";
import { RouteConfigurationSchema } from "#xds/gen/envoy/config/route/v3/route_pb.js";
import { OpenTelemetryConfigSchema } from "#xds/gen/envoy/config/trace/v3/opentelemetry_pb.js";
import { FileAccessLogSchema } from "#xds/gen/envoy/extensions/access_loggers/file/v3/file_pb.js";
import { CorsPolicySchema, CorsSchema } from "#xds/gen/envoy/extensions/filters/http/cors/v3/cors_pb.js";
import { HTTPFaultSchema } from "#xds/gen/envoy/extensions/filters/http/fault/v3/fault_pb.js";
import { RBACSchema as HttpRbacSchema } from "#xds/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import { HttpConnectionManagerSchema } from "#xds/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { RBACSchema } from "#xds/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js";
import { TcpProxySchema } from "#xds/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js";
import {
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from "#xds/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import { HttpProtocolOptionsSchema } from "#xds/gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js";

const KNOWN = [
  ClusterSchema,
  ClusterLoadAssignmentSchema,
  ListenerSchema,
  RouteConfigurationSchema,
  OpenTelemetryConfigSchema,
  FileAccessLogSchema,
  CorsSchema,
  CorsPolicySchema,
  HTTPFaultSchema,
  HttpRbacSchema,
  HttpConnectionManagerSchema,
  RBACSchema,
  TcpProxySchema,
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
  HttpProtocolOptionsSchema,
  StructSchema,
];

const SAMPLES = new URL("../../../shared/samples/istiod-xds/", import.meta.url);

export const recordedAbsent: string | false = existsSync(SAMPLES)
  ? false
  : "the recorded responses are not here";

export function recorded(
  sample: string,
  type: "Cluster" | "ClusterLoadAssignment" | "Listener" | "RouteConfiguration",
): Any[] {
  const list: JsonValue[] = JSON.parse(readFileSync(new URL(`${sample}/${type}.json`, SAMPLES), "utf8"));
  const registry = withStubs(list);
  return list.map((json) => fromJson(AnySchema, json, { registry, ignoreUnknownFields: true }));
}

/** Types this proxy does not know become messages without fields: their name is what counts. */
function withStubs(json: JsonValue): Registry {
  const known = createRegistry(...KNOWN);
  const missing = new Set<string>();
  JSON.stringify(json, (key, value) => {
    if (key === "@type" && typeof value === "string") {
      const name = value.slice(value.lastIndexOf("/") + 1);
      if (known.getMessage(name) === undefined) missing.add(name);
    }
    return value;
  });
  const file = [...missing].map((name) =>
    create(FileDescriptorProtoSchema, {
      name: `${name}.proto`,
      syntax: "proto3",
      package: name.slice(0, name.lastIndexOf(".")),
      messageType: [{ name: name.slice(name.lastIndexOf(".") + 1) }],
    }),
  );
  return createRegistry(known, createFileRegistry(create(FileDescriptorSetSchema, { file })));
}
