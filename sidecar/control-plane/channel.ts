import { readFileSync } from "node:fs";
import { type ChannelCredentials, credentials } from "@grpc/grpc-js";

/** `unix:/path`, `host:port` (plaintext) or `tls://host:port` as what a grpc-js client takes. */
export function channelTo(at: { readonly address: string; readonly rootCert: string | null }): {
  target: string;
  credentials: ChannelCredentials;
} {
  if (!at.address.startsWith("tls://"))
    return { target: at.address, credentials: credentials.createInsecure() };
  const roots = at.rootCert === null ? null : readFileSync(at.rootCert);
  return { target: at.address.slice("tls://".length), credentials: credentials.createSsl(roots) };
}
