import { KINDS } from "#policies/index.ts";

/** kubectl's and istioctl's short names. */
export const SHORT_NAMES: Readonly<Record<string, string>> = {
  po: "Pod",
  svc: "Service",
  deploy: "Deployment",
  sa: "ServiceAccount",
  ns: "Namespace",
  vs: "VirtualService",
  dr: "DestinationRule",
  gw: "Gateway",
  se: "ServiceEntry",
  ap: "AuthorizationPolicy",
  pa: "PeerAuthentication",
};

/** "VirtualService" ..., sorted. */
export const KIND_NAMES: readonly string[] = [
  ...new Set(Object.keys(KINDS).map((key) => key.slice(key.lastIndexOf("/") + 1))),
].sort();

/** `vs`, `virtualservices`, `virtualservice` -> VirtualService. What is not known stays as it was typed. */
export function kindOf(typed: string): string {
  const lower = typed.toLowerCase();
  const short = SHORT_NAMES[lower];
  if (short !== undefined) return short;
  const plural = (kind: string) => (kind.endsWith("y") ? `${kind.slice(0, -1)}ies` : `${kind}s`);
  return (
    KIND_NAMES.find((k) => {
      const kind = k.toLowerCase();
      return lower === kind || lower === plural(kind);
    }) ?? typed
  );
}
