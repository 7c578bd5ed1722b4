import type { UpstreamTlsIr } from "#ir/index.ts";
import {
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from "#xds/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import { extension, type Json } from "./resource.ts";

/**
 * The local SDS server; Weft's sidecar answers these names in process. `firstWithin`: how long a cluster or listener
 * waits for the first answer before it does without; the workload's own certificate is waited for as long as it takes.
 */
function sds(name: string, firstWithin = "0s"): Json {
  return {
    name,
    sds_config: {
      api_config_source: {
        api_type: "GRPC",
        transport_api_version: "V3",
        set_node_on_first_message_only: true,
        grpc_services: [{ envoy_grpc: { cluster_name: "sds-grpc" } }],
      },
      initial_fetch_timeout: firstWithin,
      resource_api_version: "V3",
    },
  };
}

const parameters: Json = {
  tls_minimum_protocol_version: "TLSv1_2",
  tls_maximum_protocol_version: "TLSv1_3",
  cipher_suites: [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
  ],
};

function common(alpn: readonly string[], sans: readonly Json[]): Json {
  return {
    tls_params: parameters,
    alpn_protocols: [...alpn],
    tls_certificate_sds_secret_configs: [sds("default")],
    combined_validation_context: {
      default_validation_context: sans.length === 0 ? {} : { match_subject_alt_names: [...sans] },
      validation_context_sds_secret_config: sds("ROOTCA"),
    },
  };
}

/** Mesh TLS of an inbound chain: any workload of the trust domain may connect. */
export function inboundTls(http: boolean, trustDomain: string): Json {
  return extension("envoy.transport_sockets.tls", DownstreamTlsContextSchema, {
    common_tls_context: common(http ? ["h2", "http/1.1"] : ["istio", "h2", "http/1.1"], [
      { prefix: `spiffe://${trustDomain}/` },
    ]),
    require_client_certificate: true,
  });
}

/**
 * With our SVID, to one of the identities `sans` (exact SPIFFE ids); with none, to whoever has a certificate of the mesh's
 * roots.
 */
export function meshUpstreamTls(sni: string, sans: readonly string[], alpn: readonly string[]): Json {
  return extension("envoy.transport_sockets.tls", UpstreamTlsContextSchema, {
    common_tls_context: common(
      alpn,
      sans.map((exact) => ({ exact })),
    ),
    sni,
  });
}

/**
 * TLS to servers outside of the mesh. Without `subjectAltNames` the server must be whom it was asked for by name, as
 * with any other TLS client; Istio does the same by the Host header (auto_san_validation).
 */
export function simpleUpstreamTls(tls: Extract<UpstreamTlsIr, { kind: "simple" }>): Json {
  const names = tls.sans.length > 0 || tls.sni === null ? tls.sans : [tls.sni];
  return extension("envoy.transport_sockets.tls", UpstreamTlsContextSchema, {
    common_tls_context: tls.insecureSkipVerify
      ? {}
      : {
          combined_validation_context: {
            default_validation_context:
              names.length === 0 ? {} : { match_subject_alt_names: names.map((exact) => ({ exact })) },
            validation_context_sds_secret_config: sds(`file-root:${tls.caFile ?? "system"}`, "15s"),
          },
        },
    ...(tls.sni === null ? {} : { sni: tls.sni }),
  });
}

/** Gateway termination: the key pair is a Secret that ADS carries. */
export function gatewayTls(credential: string, mutual: boolean): Json {
  const overAds = (name: string): Json => ({ name, sds_config: { ads: {}, resource_api_version: "V3" } });
  return extension("envoy.transport_sockets.tls", DownstreamTlsContextSchema, {
    common_tls_context: {
      tls_params: parameters,
      alpn_protocols: ["h2", "http/1.1"],
      tls_certificate_sds_secret_configs: [overAds(`kubernetes://${credential}`)],
      ...(mutual
        ? { validation_context_sds_secret_config: overAds(`kubernetes://${credential}-cacert`) }
        : {}),
    },
    require_client_certificate: mutual,
  });
}
