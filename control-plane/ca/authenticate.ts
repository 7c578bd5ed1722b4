/** Who calls the control plane: a Kubernetes-shaped service account token, checked here and trusted nowhere else. */
import { createPublicKey } from "node:crypto";
import { type Metadata, status } from "@grpc/grpc-js";
import { jwtVerify } from "jose";
import { serviceAccountId } from "#certs/spiffe.ts";

export interface Caller {
  namespace: string;
  serviceAccount: string;
  /** `spiffe://<trust domain>/ns/<namespace>/sa/<service account>` */
  spiffeId: string;
  /** The pod the token was projected into, when it says. */
  pod?: string;
}

/** Carries the gRPC code; the message tells the caller nothing about why a token failed, `detail` tells our log. */
export class AuthenticationError extends Error {
  readonly code = status.UNAUTHENTICATED;
  readonly detail: string;
  constructor(detail: string) {
    super("authentication failed");
    this.detail = detail;
  }
}

export type Authenticate = (metadata: Metadata) => Promise<Caller>;

/** RFC 1123 label or subdomain, as Kubernetes allows for both names. */
const NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;
const MAX_TOKEN = 8192;

/** `publicKeyPem` is SPKI, P-256; null means that no key is configured and nobody is authenticated. */
export function createAuthenticate(options: {
  publicKeyPem: string | null;
  trustDomain: string;
  /** ms since the epoch */
  now?: () => number;
}): Authenticate {
  const key = options.publicKeyPem === null ? null : createPublicKey(options.publicKeyPem);
  if (key !== null && key.asymmetricKeyDetails?.namedCurve !== "prime256v1")
    throw new Error("the token key is not ECDSA P-256 (ES256)");
  return async (metadata) => {
    if (key === null) throw new AuthenticationError("no token key is configured (tokenKeys)");
    const values = metadata.get("authorization");
    if (values.length !== 1)
      throw new AuthenticationError(`${values.length} authorization values; one is needed`);
    const match = /^Bearer ([A-Za-z0-9._-]+)$/.exec(String(values[0]));
    if (!match || match[1]!.length > MAX_TOKEN)
      throw new AuthenticationError("authorization is no bearer token");
    let payload: Record<string, unknown>;
    try {
      ({ payload } = await jwtVerify(match[1]!, key, {
        algorithms: ["ES256"],
        audience: "istio-ca",
        requiredClaims: ["sub", "exp"],
        currentDate: new Date(options.now?.() ?? Date.now()),
      }));
    } catch (problem) {
      throw new AuthenticationError((problem as Error).message);
    }
    return callerOf(payload, options.trustDomain);
  };
}

function callerOf(payload: Record<string, unknown>, trustDomain: string): Caller {
  const subject = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(String(payload["sub"]));
  if (!subject || !NAME.test(subject[1]!) || !NAME.test(subject[2]!))
    throw new AuthenticationError(`sub ${JSON.stringify(payload["sub"])} is no service account`);
  const [, namespace, serviceAccount] = subject as unknown as [string, string, string];
  const claims = payload["kubernetes.io"] as
    | { namespace?: unknown; pod?: { name?: unknown }; serviceaccount?: { name?: unknown } }
    | undefined;
  if (claims?.namespace !== undefined && claims.namespace !== namespace)
    throw new AuthenticationError("sub and kubernetes.io.namespace differ");
  if (claims?.serviceaccount?.name !== undefined && claims.serviceaccount.name !== serviceAccount)
    throw new AuthenticationError("sub and kubernetes.io.serviceaccount differ");
  const pod = claims?.pod?.name;
  return {
    namespace,
    serviceAccount,
    spiffeId: serviceAccountId(trustDomain, namespace, serviceAccount),
    ...(typeof pod === "string" ? { pod } : {}),
  };
}
