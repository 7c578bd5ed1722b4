import { anyUnpack } from "@bufbuild/protobuf/wkt";
import type { TransportSocket } from "#xds/gen/envoy/config/core/v3/base_pb.js";
import {
  type CertificateValidationContext,
  CertificateValidationContext_TrustChainVerification,
  TlsParameters_TlsProtocol,
} from "#xds/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js";
import {
  type CommonTlsContext,
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from "#xds/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import type { DownstreamTls, UpstreamTls, Validation } from "../../snapshot.ts";
import type { Problems } from "./problems.ts";
import { decodeString } from "./string.ts";

const RAW = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";

function typeName(socket: TransportSocket): string {
  return socket.configType.case === "typedConfig"
    ? (socket.configType.value.typeUrl.split("/").at(-1) ?? "")
    : "";
}

export function decodeDownstreamTls(
  socket: TransportSocket | undefined,
  problems: Problems,
): DownstreamTls | null {
  if (socket === undefined || typeName(socket) === RAW) return null;
  const wire =
    socket.configType.case === "typedConfig"
      ? anyUnpack(socket.configType.value, DownstreamTlsContextSchema)
      : undefined;
  if (wire === undefined) {
    problems.error(`transport socket ${socket.name} (${typeName(socket)}) is not supported`);
    return null;
  }
  return {
    ...decodeCommon(wire.commonTlsContext, problems.at("common_tls_context")),
    requireClientCertificate: wire.requireClientCertificate === true,
  };
}

export function decodeUpstreamTls(
  socket: TransportSocket | undefined,
  problems: Problems,
): UpstreamTls | null {
  if (socket === undefined || typeName(socket) === RAW) return null;
  const wire =
    socket.configType.case === "typedConfig"
      ? anyUnpack(socket.configType.value, UpstreamTlsContextSchema)
      : undefined;
  if (wire === undefined) {
    problems.error(`transport socket ${socket.name} (${typeName(socket)}) is not supported`);
    return null;
  }
  return {
    ...decodeCommon(wire.commonTlsContext, problems.at("common_tls_context")),
    sni: wire.sni,
    autoSni: wire.autoHostSni,
  };
}

function decodeCommon(wire: CommonTlsContext | undefined, problems: Problems) {
  const params = wire?.tlsParams;
  if ((wire?.tlsCertificates.length ?? 0) > 0)
    problems.at("tls_certificates").error("certificates in the configuration are not supported; use SDS");
  return {
    certificateSecrets: wire?.tlsCertificateSdsSecretConfigs.map((s) => s.name) ?? [],
    validation: decodeValidation(wire, problems),
    // istio-peer-exchange without the metadata exchange filter would put protobuf into the byte stream.
    alpnProtocols: wire?.alpnProtocols.filter((p) => p !== "istio-peer-exchange") ?? [],
    minVersion:
      params?.tlsMinimumProtocolVersion === TlsParameters_TlsProtocol.TLSv1_3
        ? ("TLSv1.3" as const)
        : ("TLSv1.2" as const),
    maxVersion:
      params?.tlsMaximumProtocolVersion === TlsParameters_TlsProtocol.TLSv1_2
        ? ("TLSv1.2" as const)
        : ("TLSv1.3" as const),
    cipherSuites: params?.cipherSuites ?? [],
  };
}

function decodeValidation(wire: CommonTlsContext | undefined, problems: Problems): Validation {
  const type = wire?.validationContextType;
  switch (type?.case) {
    case "combinedValidationContext":
      return fromContext(
        type.value.defaultValidationContext,
        type.value.validationContextSdsSecretConfig?.name ?? null,
        problems,
      );
    case "validationContextSdsSecretConfig":
      return fromContext(undefined, type.value.name, problems);
    case "validationContext":
      return fromContext(type.value, null, problems);
    default:
      return fromContext(undefined, null, problems);
  }
}

function fromContext(
  wire: CertificateValidationContext | undefined,
  rootSecret: string | null,
  problems: Problems,
): Validation {
  if ((wire?.verifyCertificateHash.length ?? 0) + (wire?.verifyCertificateSpki.length ?? 0) > 0) {
    problems.error("verify_certificate_hash and verify_certificate_spki are not supported");
  }
  const typed = wire?.matchTypedSubjectAltNames.map((m) => m.matcher) ?? [];
  const names = [...(wire?.matchSubjectAltNames ?? []), ...typed];
  const inline = wire?.trustedCa?.specifier;
  const bytes =
    inline?.case === "inlineString"
      ? inline.value
      : inline?.case === "inlineBytes"
        ? new TextDecoder().decode(inline.value)
        : null;
  return {
    rootSecret:
      rootSecret ??
      (inline?.case === "filename"
        ? `file-root:${inline.value}`
        : wire?.systemRootCerts !== undefined
          ? "file-root:system"
          : null),
    inlineRoots: bytes,
    subjectAltNames: names.map((n, i) => decodeString(n, problems.at("match_subject_alt_names").at(i))),
    trustAnyPeer:
      wire?.trustChainVerification === CertificateValidationContext_TrustChainVerification.ACCEPT_UNTRUSTED,
  };
}
