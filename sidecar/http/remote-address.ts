// hot path
import { isIP } from "node:net";
import type { HeadView, HttpConfig } from "../snapshot.ts";

const XFF = "x-forwarded-for";

/**
 * Whom the connection manager takes for the client (Envoy's rules): at the edge the peer, unless proxies before us are
 * trusted; inside, whom the last proxy names in X-Forwarded-For. `peer` where nobody says it, or no address.
 */
export function remoteAddress(
  head: HeadView,
  { useRemoteAddress, xffNumTrustedHops }: Pick<HttpConfig, "useRemoteAddress" | "xffNumTrustedHops">,
  peer: string,
): string {
  if (useRemoteAddress && xffNumTrustedHops === 0) return peer;
  const said = head.get(XFF);
  if (said === null) return peer;
  // With useRemoteAddress the peer is the first trusted hop, and stands not in the header yet.
  let skip = useRemoteAddress ? xffNumTrustedHops - 1 : xffNumTrustedHops;
  let end = said.length;
  for (; skip > 0; skip--) {
    end = said.lastIndexOf(",", end - 1);
    if (end <= 0) return peer;
  }
  const client = said.slice(said.lastIndexOf(",", end - 1) + 1, end).trim();
  return isIP(client) === 0 ? peer : client;
}
