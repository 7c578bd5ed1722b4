/**
 * Secret discovery for one Envoy: `default` (our chain and key), `ROOTCA` (whom to trust) and `file-root:PATH` (whom to
 * trust outside of the mesh), as pilot-agent names them. Every other name is answered, too: see file-roots.ts.
 */
import { create } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import type { handleBidiStreamingCall, Server, ServerDuplexStream } from "@grpc/grpc-js";
import type { SecretManager, WorkloadSecret } from "#certs/workload/index.ts";
import type { Logger } from "#lib/log.ts";
import { type Secret, SecretSchema } from "#xds/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import {
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
  type DiscoveryRequest,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from "#xds/gen/envoy/service/discovery/v3/discovery_pb.js";
import { SecretDiscoveryService } from "#xds/gen/envoy/service/secret/v3/sds_pb.js";
import { toGrpc } from "#xds/grpc.ts";
import { readFileRoot } from "./file-roots.ts";

const SECRET_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/** Undefined: it comes with the workload's certificate, which is not there yet. */
function secretNamed(name: string, from: WorkloadSecret | undefined, log: Logger): Secret | undefined {
  const inline = (text: string) => ({
    specifier: { case: "inlineBytes" as const, value: new Uint8Array(Buffer.from(text)) },
  });
  const trusting = (pem: string): Secret =>
    create(SecretSchema, { name, type: { case: "validationContext", value: { trustedCa: inline(pem) } } });
  if (name !== "default" && name !== "ROOTCA") return trusting(readFileRoot(name, log));
  if (from === undefined) return undefined;
  if (name === "ROOTCA") return trusting(from.rootsPem);
  return create(SecretSchema, {
    name,
    type: {
      case: "tlsCertificate",
      value: { certificateChain: inline(from.chainPem), privateKey: inline(from.keyPem) },
    },
  });
}

/** Before the first certificate nothing is answered: Envoy then refuses the listeners' TLS, it does not go without. */
export function addSdsService(server: Server, secrets: SecretManager, log: Logger): void {
  let version = 0;
  secrets.onChange(() => version++);

  const serve = <Q extends { errorDetail?: { message: string } }, A>(
    call: ServerDuplexStream<Q, A>,
    wantedBy: (request: Q) => boolean,
    answer: (secret: WorkloadSecret | undefined) => A | undefined,
  ): void => {
    const push = (secret: WorkloadSecret | undefined): void => {
      const message = answer(secret);
      if (message !== undefined) call.write(message);
    };
    const off = secrets.onChange(push);
    call.on("data", (request: Q) => {
      if (request.errorDetail) log.warn("Envoy refused a secret", { error: request.errorDetail.message });
      if (wantedBy(request)) push(secrets.current);
    });
    call.on("end", () => call.end());
    call.on("error", () => off());
    call.on("close", off);
    call.on("cancelled", off);
  };

  const streamSecrets: handleBidiStreamingCall<DiscoveryRequest, DiscoveryResponse> = (call) => {
    let names: string[] = [];
    serve(
      call,
      (request) => {
        const before = names.join();
        names = request.resourceNames;
        return request.responseNonce === "" || names.join() !== before; // else an ACK or NACK
      },
      (secret) => {
        const found = names.map((name) => secretNamed(name, secret, log)).filter((s) => s !== undefined);
        if (found.length === 0) return undefined;
        return create(DiscoveryResponseSchema, {
          versionInfo: String(version),
          nonce: `${version}`,
          typeUrl: SECRET_TYPE,
          resources: found.map((s) => anyPack(SecretSchema, s)),
        });
      },
    );
  };

  const deltaSecrets: handleBidiStreamingCall<DeltaDiscoveryRequest, DeltaDiscoveryResponse> = (call) => {
    const names = new Set<string>();
    serve(
      call,
      (request) => {
        for (const name of request.resourceNamesUnsubscribe) names.delete(name);
        for (const name of request.resourceNamesSubscribe) names.add(name);
        for (const name of Object.keys(request.initialResourceVersions)) names.add(name);
        return request.resourceNamesSubscribe.length > 0;
      },
      (secret) => {
        const wanted = [...names];
        const found = wanted.map((name) => secretNamed(name, secret, log)).filter((s) => s !== undefined);
        if (found.length === 0) return undefined;
        return create(DeltaDiscoveryResponseSchema, {
          systemVersionInfo: String(version),
          nonce: `${version}`,
          typeUrl: SECRET_TYPE,
          resources: found.map((s) => ({
            name: s.name,
            version: String(version),
            resource: anyPack(SecretSchema, s),
          })),
        });
      },
    );
  };
  server.addService(toGrpc(SecretDiscoveryService), {
    streamSecrets,
    deltaSecrets,
    fetchSecrets: (_call: unknown, answer: (problem: { code: number; details: string }) => void) =>
      answer({ code: 12, details: "FetchSecrets is not served; use a stream" }),
  });
}
