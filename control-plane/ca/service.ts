/** istio.v1.auth.IstioCertificateService: certificates for whoever the token says is calling, whatever the CSR asks. */
import { create } from "@bufbuild/protobuf";
import { type handleUnaryCall, type Server, type ServiceError, status } from "@grpc/grpc-js";
import type { Authority } from "#certs/authority/index.ts";
import { parseCsr } from "#certs/x509/index.ts";
import type { Logger } from "#lib/log.ts";
import {
  type IstioCertificateRequest,
  type IstioCertificateResponse,
  IstioCertificateResponseSchema,
  IstioCertificateService,
} from "#xds/gen/security/v1alpha1/ca_pb.js";
import { toGrpc } from "#xds/grpc.ts";
import { type Authenticate, AuthenticationError } from "./authenticate.ts";

/** Istio's MAX_WORKLOAD_CERT_TTL; asking for more is an error there, so also here. */
const MAX_TTL_SECONDS = 90 * 86_400;
/** Per identity: a burst for a deployment that starts at once, then a steady rate. */
const BURST = 100;
const PER_SECOND = 10;

export interface CaServiceOptions {
  authority: Authority;
  authenticate: Authenticate;
  /** When the request names none (<= 0). */
  defaultTtlSeconds: number;
  log: Logger;
  /** Monotonic ms, for the rate limit. */
  monotonic?: () => number;
}

class Refusal extends Error {
  readonly code: status;
  constructor(code: status, message: string) {
    super(message);
    this.code = code;
  }
}

/** istio.v1.auth.IstioCertificateService. Who calls is read from the token alone, of the CSR only the key is taken. */
export function addCaService(server: Server, options: CaServiceOptions): void {
  const allow = rateLimit(options.monotonic ?? (() => performance.now()));
  const createCertificate: handleUnaryCall<IstioCertificateRequest, IstioCertificateResponse> = (
    call,
    answer,
  ) => {
    void (async () => {
      const caller = await options.authenticate(call.metadata);
      if (!allow(caller.spiffeId))
        throw new Refusal(
          status.RESOURCE_EXHAUSTED,
          `more than ${PER_SECOND} requests a second from ${caller.spiffeId}`,
        );
      const asked = call.request.validityDuration;
      if (asked > BigInt(MAX_TTL_SECONDS))
        throw new Refusal(
          status.INVALID_ARGUMENT,
          `validity_duration ${asked} s is above the limit ${MAX_TTL_SECONDS} s`,
        );
      let spki: Buffer;
      try {
        ({ spki } = parseCsr(call.request.csr));
      } catch (problem) {
        throw new Refusal(status.INVALID_ARGUMENT, `CSR refused: ${(problem as Error).message}`);
      }
      const issued = options.authority.issue(
        spki,
        caller.spiffeId,
        asked > 0n ? Number(asked) : options.defaultTtlSeconds,
      );
      options.log.info("certificate issued", {
        spiffeId: caller.spiffeId,
        pod: caller.pod,
        notAfter: new Date(issued.notAfter).toISOString(),
      });
      return create(IstioCertificateResponseSchema, { certChain: issued.chain });
    })().then(
      (response) => answer(null, response),
      (problem: unknown) => answer(toStatus(problem, options.log)),
    );
  };
  server.addService(toGrpc(IstioCertificateService), { createCertificate });
}

function toStatus(problem: unknown, log: Logger): Partial<ServiceError> {
  if (problem instanceof AuthenticationError) {
    log.warn("certificate refused", { error: problem.detail });
    return { code: problem.code, details: problem.message };
  }
  if (problem instanceof Refusal) {
    log.warn("certificate refused", { error: problem.message });
    return { code: problem.code, details: problem.message };
  }
  log.error("the CA failed", { error: problem });
  return { code: status.INTERNAL, details: "the CA failed; its log says why" };
}

/** Token bucket per identity. Full buckets are forgotten, so the map holds only recent callers. */
function rateLimit(now: () => number): (identity: string) => boolean {
  const buckets = new Map<string, { left: number; at: number }>();
  return (identity) => {
    const at = now();
    const old = buckets.get(identity) ?? { left: BURST, at };
    const left = Math.min(BURST, old.left + ((at - old.at) / 1000) * PER_SECOND);
    if (left < 1) return false;
    buckets.delete(identity);
    buckets.set(identity, { left: left - 1, at });
    for (const [name, bucket] of buckets) {
      if (at - bucket.at < (BURST / PER_SECOND) * 1000) break; // oldest first
      buckets.delete(name);
    }
    return true;
  };
}
