import { createHash } from "node:crypto";
import {
  createRegistry,
  type DescMessage,
  fromJson,
  type JsonObject,
  type JsonValue,
  toBinary,
} from "@bufbuild/protobuf";
import { ClusterSchema } from "#xds/gen/envoy/config/cluster/v3/cluster_pb.js";
import { ClusterLoadAssignmentSchema } from "#xds/gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { ListenerSchema } from "#xds/gen/envoy/config/listener/v3/listener_pb.js";
import { RouteConfigurationSchema } from "#xds/gen/envoy/config/route/v3/route_pb.js";
import { OpenTelemetryConfigSchema } from "#xds/gen/envoy/config/trace/v3/opentelemetry_pb.js";
import { FileAccessLogSchema } from "#xds/gen/envoy/extensions/access_loggers/file/v3/file_pb.js";
import { ClusterConfigSchema } from "#xds/gen/envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster_pb.js";
import { CorsPolicySchema, CorsSchema } from "#xds/gen/envoy/extensions/filters/http/cors/v3/cors_pb.js";
import { FilterConfigSchema as OutsideFilterSchema } from "#xds/gen/envoy/extensions/filters/http/dynamic_forward_proxy/v3/dynamic_forward_proxy_pb.js";
import { HTTPFaultSchema } from "#xds/gen/envoy/extensions/filters/http/fault/v3/fault_pb.js";
import { FilterConfigSchema as GrpcStatsSchema } from "#xds/gen/envoy/extensions/filters/http/grpc_stats/v3/config_pb.js";
import { RBACSchema as HttpRbacSchema } from "#xds/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import { RouterSchema } from "#xds/gen/envoy/extensions/filters/http/router/v3/router_pb.js";
import { HttpInspectorSchema } from "#xds/gen/envoy/extensions/filters/listener/http_inspector/v3/http_inspector_pb.js";
import { OriginalDstSchema } from "#xds/gen/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.js";
import { TlsInspectorSchema } from "#xds/gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js";
import { HttpConnectionManagerSchema } from "#xds/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { RBACSchema as NetworkRbacSchema } from "#xds/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js";
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

/** Every message that we put into an Any: also what admin needs to print resources as JSON. */
export const registry = createRegistry(
  ClusterSchema,
  ClusterLoadAssignmentSchema,
  ListenerSchema,
  RouteConfigurationSchema,
  OpenTelemetryConfigSchema,
  FileAccessLogSchema,
  ClusterConfigSchema,
  OutsideFilterSchema,
  CorsSchema,
  CorsPolicySchema,
  HTTPFaultSchema,
  GrpcStatsSchema,
  HttpRbacSchema,
  RouterSchema,
  HttpInspectorSchema,
  OriginalDstSchema,
  TlsInspectorSchema,
  HttpConnectionManagerSchema,
  NetworkRbacSchema,
  TcpProxySchema,
  UuidRequestIdConfigSchema,
  UriTemplateMatchConfigSchema,
  PreviousHostsPredicateSchema,
  PreviousPrioritiesConfigSchema,
  RawBufferSchema,
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
  HttpProtocolOptionsSchema,
);

export type Json = JsonObject;
export type { JsonValue };

/** One xDS resource, serialized once; `version` is a hash of `bytes`, so equal content is never resent. */
export interface Resource {
  readonly typeUrl: string;
  readonly name: string;
  readonly version: string;
  readonly bytes: Uint8Array;
}

/** By what they say, for as long as anybody has them. */
const written = new Map<string, WeakRef<Resource>>();
const forgotten = new FinalizationRegistry<string>((key) => {
  if (written.get(key)?.deref() === undefined) written.delete(key);
});

/**
 * What says the same is the same object. A changed policy makes every proxy's IR anew, most of which says what it said:
 * to compare texts costs a thirtieth of serializing a listener (300 deletes at 8 proxies: 16 s were spent on that).
 */
export function resource(schema: DescMessage, name: string, json: Json): Resource {
  const key = createHash("sha256")
    .update(`${schema.typeName} ${JSON.stringify(json)}`)
    .digest("base64url");
  const known = written.get(key)?.deref();
  if (known !== undefined) return known;
  const made = resourceOf(schema, name, encode(schema, json));
  written.set(key, new WeakRef(made));
  forgotten.register(made, key);
  return made;
}

/** The version is a hash of the bytes: what has not changed is not sent again. */
export function resourceOf(schema: DescMessage, name: string, bytes: Uint8Array): Resource {
  const version = createHash("sha256").update(bytes).digest("base64url").slice(0, 16);
  return { typeUrl: `type.googleapis.com/${schema.typeName}`, name, version, bytes };
}

/** Proto3 JSON to bytes; throws on a field that the message has not. */
export function encode(schema: DescMessage, json: Json): Uint8Array {
  return toBinary(schema, fromJson(schema, json, { registry }));
}

/**
 * Fields appended to a serialized message are merged into it (protobuf): the shared bytes are kept once. `key` is
 * what the fields say.
 */
export function extended(base: Resource, fields: Uint8Array, key: string): Resource {
  return {
    typeUrl: base.typeUrl,
    name: base.name,
    version: `${base.version}.${key}`,
    get bytes() {
      return Buffer.concat([base.bytes, fields]);
    },
  };
}

/** A message of one repeated field, from elements that are serialized already. */
export function repeated(fieldNumber: number, elements: readonly Uint8Array[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const element of elements) parts.push(header(fieldNumber, element.length), element);
  return Buffer.concat(parts);
}

/** Tag and length of a length-delimited field below number 16. */
function header(fieldNumber: number, length: number): Uint8Array {
  const bytes = [(fieldNumber << 3) | 2];
  for (let left = length; ; left >>>= 7) {
    if (left < 0x80) return Uint8Array.from([...bytes, left]);
    bytes.push((left & 0x7f) | 0x80);
  }
}

/** A named extension with its configuration in an Any. */
export function extension(name: string, schema: DescMessage, config: Json = {}): Json {
  return { name, typed_config: any(schema, config) };
}

/** google.protobuf.Any as proto3 JSON writes it. */
export function any(schema: DescMessage, config: Json = {}): Json {
  return { "@type": `type.googleapis.com/${schema.typeName}`, ...config };
}

/** Protobuf JSON duration. */
export function duration(ms: number): string {
  return `${ms / 1000}s`;
}

export function socketAddress(address: string, port: number): Json {
  return { socket_address: { address, port_value: port } };
}

/** Drops keys without value, so that a table of fields reads as one literal. */
export function compact(fields: Record<string, JsonValue | null | undefined>): Json {
  return Object.fromEntries(Object.entries(fields).filter(([, v]) => v !== null && v !== undefined)) as Json;
}
