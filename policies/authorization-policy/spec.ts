import { isIP } from "node:net";
import { check, labels, list, object, oneOf, required, str } from "../schema.ts";
import { whenSubject } from "./when.ts";

// A condition that were dropped would widen an ALLOW: an unknown key refuses the policy.
const whenKey = check(str, (key) => (whenSubject(key) === null ? `key ${key} is not supported yet` : null));
const texts = list(str);
const isRange = (text: string): boolean => {
  const [address = "", length, ...rest] = text.split("/");
  const version = isIP(address);
  const max = version === 6 ? 128 : 32;
  return (
    version > 0 &&
    rest.length === 0 &&
    (length === undefined || (/^\d{1,3}$/.test(length) && Number(length) <= max))
  );
};
// A range that cannot be read would refuse the whole listener at the proxy.
const ranges = list(
  check(str, (t) => (isRange(t) ? null : "must be an IP address or range, such as 10.0.0.0/8")),
);
const trustDomains = list(
  check(str, (t) => (t.includes("*") ? "patterns are not supported here: name each trust domain" : null)),
);
const ports = list(
  check(str, (t) =>
    /^[1-9]\d{0,4}$/.test(t) && Number(t) <= 65535
      ? null
      : `must be a port number from 1 to 65535, not "${t}"`,
  ),
);
const source = object(
  {
    principals: texts,
    notPrincipals: texts,
    namespaces: texts,
    notNamespaces: texts,
    serviceAccounts: texts,
    notServiceAccounts: texts,
    ipBlocks: ranges,
    notIpBlocks: ranges,
    remoteIpBlocks: ranges,
    notRemoteIpBlocks: ranges,
    trustDomains,
    notTrustDomains: trustDomains,
  },
  // Without RequestAuthentication these could never be true, and a DENY on them would be a hole.
  { later: ["requestPrincipals", "notRequestPrincipals"] },
);
const operation = object({
  hosts: texts,
  notHosts: texts,
  ports,
  notPorts: ports,
  methods: texts,
  notMethods: texts,
  paths: texts,
  notPaths: texts,
});
const condition = check(object({ key: required(whenKey), values: texts, notValues: texts }), (w) => {
  const values = [...(w.values ?? []), ...(w.notValues ?? [])];
  if (values.length === 0) return "needs values or notValues";
  if (/^(source|remote|destination)\.ip$/.test(w.key) && !values.every(isRange))
    return `${w.key} is compared with IP addresses and ranges, such as 10.0.0.0/8`;
  if (w.key === "destination.port" && !values.every((v) => /^[1-9]\d{0,4}$/.test(v)))
    return "destination.port is compared with port numbers";
  return null;
});
export const authorizationPolicySpec = object(
  {
    selector: object({ matchLabels: labels }),
    action: oneOf("ALLOW", "DENY", "AUDIT"),
    rules: list(
      object({
        from: list(object({ source: required(source) })),
        to: list(object({ operation: required(operation) })),
        when: list(condition),
      }),
    ),
  },
  { later: ["targetRef", "targetRefs", "provider"] },
);
