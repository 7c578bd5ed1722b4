/** `Sign` of certs/workload over IstioCertificateService. The token is read at every call: projected tokens rotate. */
import { readFileSync } from "node:fs";
import { create } from "@bufbuild/protobuf";
import { Client, Metadata } from "@grpc/grpc-js";
import type { Sign } from "#certs/workload/index.ts";
import {
  type IstioCertificateRequest,
  IstioCertificateRequestSchema,
  type IstioCertificateResponse,
  IstioCertificateService,
} from "#xds/gen/security/v1alpha1/ca_pb.js";
import { toGrpc } from "#xds/grpc.ts";
import { channelTo } from "./channel.ts";

const DEADLINE_MS = 10_000;

export interface CaClientOptions {
  /** `unix:/path`, `host:port` or `tls://host:port`. */
  address: string;
  tokenFile: string | null;
  rootCert: string | null;
}

/** `sign` rejects after 10 s, and with the CA's own words when it refuses. */
export function createCaClient(options: CaClientOptions): { sign: Sign; close(): void } {
  const { target, credentials } = channelTo(options);
  const client = new Client(target, credentials);
  const method = toGrpc(IstioCertificateService)["createCertificate"]!;
  const sign: Sign = (csr, ttlSeconds) =>
    new Promise((resolve, reject) => {
      const metadata = new Metadata();
      if (options.tokenFile !== null)
        metadata.set("authorization", `Bearer ${readFileSync(options.tokenFile, "utf8").trim()}`);
      client.makeUnaryRequest<IstioCertificateRequest, IstioCertificateResponse>(
        method.path,
        method.requestSerialize,
        method.responseDeserialize as (bytes: Buffer) => IstioCertificateResponse,
        create(IstioCertificateRequestSchema, { csr, validityDuration: BigInt(Math.floor(ttlSeconds)) }),
        metadata,
        { deadline: Date.now() + DEADLINE_MS },
        (problem, response) =>
          response ? resolve(response.certChain) : reject(problem ?? new Error("no answer")),
      );
    });
  return { sign, close: () => client.close() };
}
