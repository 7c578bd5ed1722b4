/** SPIFFE IDs, strictly as spiffe/spiffe standards/SPIFFE-ID.md section 2 writes them; nothing is normalised. */
export interface SpiffeId {
  trustDomain: string;
  /** Empty for the id of a trust domain itself, otherwise begins with "/". */
  path: string;
}

/** Longest id every implementation must support, and the longest we take. */
const MAX_BYTES = 2048;
const TRUST_DOMAIN = /^[a-z0-9._-]{1,255}$/;
const SEGMENT = /^[a-zA-Z0-9._-]+$/;

export function isTrustDomain(text: string): boolean {
  return TRUST_DOMAIN.test(text);
}

/** The id, or one sentence naming the rule it breaks. Comparison of trust domains is exact: no case folding, no dots cut. */
export function parseSpiffeId(text: string): SpiffeId | { error: string } {
  if (Buffer.byteLength(text) > MAX_BYTES)
    return { error: `a SPIFFE ID has at most ${MAX_BYTES} bytes, this one ${Buffer.byteLength(text)}` };
  if (!text.startsWith("spiffe://"))
    return { error: `${JSON.stringify(text)} is no SPIFFE ID: the scheme must be spiffe://` };
  const rest = text.slice("spiffe://".length);
  const slash = rest.indexOf("/");
  const trustDomain = slash < 0 ? rest : rest.slice(0, slash);
  const path = slash < 0 ? "" : rest.slice(slash);
  if (!isTrustDomain(trustDomain))
    return {
      error: `${JSON.stringify(text)}: a trust domain is 1 to 255 of a-z, 0-9, ".", "-", "_", with no port and no user`,
    };
  for (const segment of path === "" ? [] : path.slice(1).split("/")) {
    if (segment === "" || segment === "." || segment === ".." || !SEGMENT.test(segment))
      return {
        error: `${JSON.stringify(text)}: path segment ${JSON.stringify(segment)} must be letters, digits, ".", "-", "_", not empty and not relative`,
      };
  }
  return { trustDomain, path };
}

/** The identity Istio gives a Kubernetes service account: `spiffe://<td>/ns/<ns>/sa/<sa>`. Throws on parts no id may have. */
export function serviceAccountId(trustDomain: string, namespace: string, serviceAccount: string): string {
  if (namespace.includes("/") || serviceAccount.includes("/"))
    throw new Error(`namespace ${namespace} and service account ${serviceAccount} must not contain "/"`);
  const text = `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
  const id = parseSpiffeId(text);
  if ("error" in id) throw new Error(id.error);
  return text;
}

/** Namespace and service account of an id of that form, for logs and `source.namespace`; undefined for other ids. */
export function serviceAccountOf(id: SpiffeId): { namespace: string; serviceAccount: string } | undefined {
  const match = /^\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(id.path);
  return match ? { namespace: match[1]!, serviceAccount: match[2]! } : undefined;
}
