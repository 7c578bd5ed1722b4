/** /config_dump: envoy.admin.v3.ConfigDump as JSON, as Envoy prints it, from the resources as they arrived. */

import { type JsonObject, type JsonValue, toJson } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { TYPE } from "#xds/index.ts";
import type { Bootstrap } from "../bootstrap.ts";
import type { TlsSecret } from "../tls/secrets.ts";
import type { Archived, ConfigArchive } from "./archive.ts";
import { configRegistry } from "./registry.ts";

export interface DumpSource {
  readonly bootstrap: Bootstrap;
  readonly version: string;
  readonly archive: ConfigArchive;
  readonly secret: (TlsSecret & { readonly notBefore: number }) | null;
  readonly startedMs: number;
}

export interface DumpQuery {
  readonly includeEds: boolean;
  /** One section, such as dynamic_listeners; null = all. */
  readonly resource: string | null;
  readonly name: ((name: string) => boolean) | null;
}

const ADMIN = "type.googleapis.com/envoy.admin.v3.";
const REDACTED = Buffer.from("[redacted]").toString("base64");

/** Sections in Envoy's order; private keys are redacted. */
export function configDump(source: DumpSource, query: DumpQuery): JsonObject {
  const wanted = (name: string): boolean => query.name === null || query.name(name);
  const of = (typeUrl: string): readonly Archived[] =>
    source.archive.of(typeUrl).filter((resource) => wanted(resource.name));
  const listeners = of(TYPE.listener).map(listener);
  const configs: JsonObject[] = [
    {
      "@type": `${ADMIN}BootstrapConfigDump`,
      bootstrap: bootstrap(source),
      last_updated: time(source.startedMs),
    },
    {
      "@type": `${ADMIN}ClustersConfigDump`,
      dynamic_active_clusters: of(TYPE.cluster).map((r) => dynamic(r, "cluster")),
    },
    ...(query.includeEds
      ? [
          {
            "@type": `${ADMIN}EndpointsConfigDump`,
            dynamic_endpoint_configs: of(TYPE.endpoints).map((r) => dynamic(r, "endpoint_config")),
          },
        ]
      : []),
    { "@type": `${ADMIN}ListenersConfigDump`, dynamic_listeners: listeners },
    {
      "@type": `${ADMIN}RoutesConfigDump`,
      static_route_configs: listeners
        .flatMap((l) => inlineRoutes(l))
        .map((route) => ({ route_config: { "@type": TYPE.route, ...route } })),
      dynamic_route_configs: of(TYPE.route).map((r) => dynamic(r, "route_config")),
    },
    {
      "@type": `${ADMIN}SecretsConfigDump`,
      dynamic_active_secrets: secrets(source).filter(({ name }) => wanted(String(name))),
    },
  ];
  if (query.resource === null) return redact({ configs }) as JsonObject;
  const section = configs.flatMap((config) => (config[query.resource!] ?? []) as JsonObject[]);
  return redact({ configs: section }) as JsonObject;
}

function dynamic(r: Archived, field: string): JsonObject {
  return {
    version_info: r.version,
    ...(r.any === null ? {} : { [field]: decoded(r.any) }),
    last_updated: time(r.updatedMs),
    ...failure(r),
  };
}

function listener(r: Archived): JsonObject {
  return {
    name: r.name,
    ...(r.any === null
      ? {}
      : {
          active_state: {
            version_info: r.version,
            listener: decoded(r.any),
            last_updated: time(r.updatedMs),
          },
        }),
    ...failure(r),
  };
}

function failure({ refused }: Archived): JsonObject {
  return refused === null
    ? {}
    : {
        error_state: {
          failed_configuration: decoded(refused.any),
          last_update_attempt: time(refused.atMs),
          details: refused.reason,
        },
      };
}

/** Types that are unknown here are met one by one: each error names the next. */
function decoded(any: Any): JsonValue {
  const stubs = new Set<string>();
  for (;;) {
    try {
      return toJson(AnySchema, any, { registry: registryWith(stubs), useProtoFieldName: true });
    } catch (error) {
      const missing = /"[^"]*\/([\w.]+)" is not in the type registry/.exec((error as Error).message);
      if (missing === null || stubs.has(missing[1]!))
        return { "@type": any.typeUrl, error: "does not decode" };
      stubs.add(missing[1]!);
    }
  }
}

const known = configRegistry();
function registryWith(stubs: ReadonlySet<string>) {
  return stubs.size === 0 ? known : configRegistry(stubs);
}

function inlineRoutes(value: JsonValue): JsonObject[] {
  if (Array.isArray(value)) return value.flatMap(inlineRoutes);
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, child]) =>
    key === "route_config" ? [child as JsonObject] : inlineRoutes(child),
  );
}

function bootstrap({ bootstrap: b, version }: DumpSource): JsonObject {
  const admin: JsonObject =
    b.admin.kind === "unix"
      ? { pipe: { path: b.admin.path } }
      : { socket_address: { address: b.admin.host, port_value: b.admin.port } };
  return {
    node: {
      id: b.node.id,
      cluster: b.node.cluster,
      metadata: b.node.metadata as JsonObject,
      locality: { region: b.node.locality.region ?? "", zone: b.node.locality.zone ?? "" },
      user_agent_name: "weft",
      user_agent_version: version,
    },
    admin: { address: admin },
    dynamic_resources: {
      lds_config: { ads: {}, resource_api_version: "V3" },
      cds_config: { ads: {}, resource_api_version: "V3" },
      ads_config: {
        api_type: "DELTA_GRPC",
        transport_api_version: "V3",
        grpc_services: [{ google_grpc: { target_uri: b.discovery.address, stat_prefix: "xds" } }],
      },
    },
  };
}

/** What Envoy shows of its SDS secrets: certificates in the open, the key as a word. */
function secrets({ secret }: DumpSource): JsonObject[] {
  if (secret === null) return [];
  const bytes = (pem: string) => ({ inline_bytes: Buffer.from(pem).toString("base64") });
  const entry = (name: string, content: JsonObject): JsonObject => ({
    name,
    version_info: "1",
    last_updated: time(secret.notBefore),
    secret: {
      "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
      name,
      ...content,
    },
  });
  return [
    entry("default", {
      tls_certificate: {
        certificate_chain: bytes(secret.chainPem),
        private_key: { inline_bytes: REDACTED },
      },
    }),
    entry("ROOTCA", { validation_context: { trusted_ca: bytes(secret.rootsPem) } }),
  ];
}

const SENSITIVE = new Set([
  "private_key",
  "password",
  "session_ticket_keys",
  "generic_secret",
  "token_secret",
]);

/** What Envoy's protos mark sensitive; a bearer token in a header of a gRPC service too. */
function redact(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(redact);
  if (typeof value !== "object" || value === null) return value;
  const header = typeof value["key"] === "string" && /^(proxy-)?authorization$|cookie$/i.test(value["key"]);
  return Object.fromEntries(
    Object.entries(value).map(([key, child]) => {
      if (SENSITIVE.has(key)) return [key, hidden(child)];
      if (header && (key === "value" || key === "raw_value")) return [key, "[redacted]"];
      return [key, redact(child)];
    }),
  );
}

function hidden(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(hidden);
  if (typeof value !== "object" || value === null) return "[redacted]";
  return Object.fromEntries(
    Object.entries(value).map(([key, child]) => [
      key,
      key === "inline_bytes" ? REDACTED : key === "filename" ? child : hidden(child),
    ]),
  );
}

function time(ms: number): string {
  return new Date(ms).toISOString();
}
