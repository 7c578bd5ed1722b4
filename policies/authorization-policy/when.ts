import type { AuthzCondition } from "#ir/authz.ts";

type Subject = AuthzCondition["subject"];

const WHEN: Readonly<Record<string, Subject["kind"]>> = {
  "source.ip": "source-ip",
  "remote.ip": "remote-ip",
  "source.namespace": "namespace",
  "source.principal": "principal",
  "source.serviceAccount": "service-account",
  "source.trustDomain": "trust-domain",
  "destination.ip": "destination-ip",
  "destination.port": "destination-port",
  "connection.sni": "sni",
};
/** null = a key that Weft does not know: `validate` refuses the policy. */
export function whenSubject(key: string): Subject | null {
  // A field name (RFC 9110 5.6.2), or what HTTP/2 puts in its place.
  const header = /^request\.headers\[(:?[-!#$%&'*+.^_`|~0-9a-zA-Z]+)\]$/.exec(key);
  if (header) return { kind: "header", name: header[1]!.toLowerCase() };
  const kind = WHEN[key];
  return kind === undefined ? null : ({ kind } as Subject);
}
