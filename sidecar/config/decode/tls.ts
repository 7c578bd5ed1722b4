import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import type { TransportSocket } from "#xds/gen/envoy/config/core/v3/base_pb.js";
import {
  type CertificateValidationContext,
  TlsParameters_TlsProtocol,
} from "#xds/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js";
import {
  type CommonTlsContext,
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from "#xds/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import type { DownstreamTls, Roots, UpstreamTls, Validation } from "../../snapshot.ts";
import type { Problems } from "./problems.ts";
import { decodeString } from "./string.ts";

const RAW = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";

/** null: plaintext. */
export function decodeDownstreamTls(
  socket: TransportSocket | undefined,
  problems: Problems,
): DownstreamTls | null {
  const wire = unpackSocket(socket, DownstreamTlsContextSchema, problems);
  if (wire === null) return null;
  return {
    ...decodeCommon(wire.commonTlsContext, problems.at("common_tls_context")),
    requireClientCertificate: wire.requireClientCertificate === true,
  };
}

/** null: plaintext. With nothing to present and nothing to check it accepts any server, as Envoy does. */
export function decodeUpstreamTls(
  socket: TransportSocket | undefined,
  problems: Problems,
): UpstreamTls | null {
  const wire = unpackSocket(socket, UpstreamTlsContextSchema, problems);
  if (wire === null) return null;
  const common = decodeCommon(wire.commonTlsContext, problems.at("common_tls_context"));
  // Without a certificate of our own and without anything to check it is not the mesh's TLS.
  const unchecked =
    wire.commonTlsContext?.validationContextType.case === undefined && common.certificateSecrets.length === 0;
  const { validation } = common;
  return {
    ...common,
    validation: unchecked ? { ...validation, roots: { kind: "any" } } : validation,
    sni: wire.sni,
  };
}

/** null = plain bytes, or an error was told. */
function unpackSocket<T extends DescMessage>(
  socket: TransportSocket | undefined,
  schema: T,
  problems: Problems,
): MessageShape<T> | null {
  if (socket === undefined) return null;
  const any = socket.configType.case === "typedConfig" ? socket.configType.value : undefined;
  const type = any?.typeUrl.split("/").at(-1) ?? "";
  if (type === RAW) return null;
  const wire = any === undefined ? undefined : anyUnpack(any, schema);
  if (wire === undefined) problems.error(`transport socket ${socket.name} (${type}) is not supported`);
  return wire ?? null;
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
  const context =
    type?.case === "combinedValidationContext"
      ? type.value.defaultValidationContext
      : type?.case === "validationContext"
        ? type.value
        : undefined;
  if ((context?.verifyCertificateHash.length ?? 0) + (context?.verifyCertificateSpki.length ?? 0) > 0)
    problems.error("verify_certificate_hash and verify_certificate_spki are not supported");
  const secret =
    type?.case === "combinedValidationContext"
      ? type.value.validationContextSdsSecretConfig?.name
      : type?.case === "validationContextSdsSecretConfig"
        ? type.value.name
        : undefined;
  const typed = context?.matchTypedSubjectAltNames.map((m) => m.matcher) ?? [];
  const names = [...(context?.matchSubjectAltNames ?? []), ...typed];
  return {
    roots: decodeRoots(secret, context, problems),
    subjectAltNames: names.map((n, i) => decodeString(n, problems.at("match_subject_alt_names").at(i))),
  };
}

const FILE_ROOT = "file-root:";

/** Secrets of pilot-agent: `file-root:PATH`, `file-root:system`; any other name is the mesh's. */
function decodeRoots(
  secret: string | undefined,
  context: CertificateValidationContext | undefined,
  problems: Problems,
): Roots {
  if (secret === `${FILE_ROOT}system` || context?.systemRootCerts !== undefined) return { kind: "system" };
  if (secret?.startsWith(FILE_ROOT)) return { kind: "file", path: secret.slice(FILE_ROOT.length) };
  const given = context?.trustedCa?.specifier;
  if (given?.case === "filename") return { kind: "file", path: given.value };
  if (given !== undefined)
    problems.warn("other roots than the mesh's are ignored: a peer without an SVID of the mesh is refused");
  return { kind: "mesh" };
}
