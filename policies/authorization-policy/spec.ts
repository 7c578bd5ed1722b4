import { check, type Infer, labels, list, object, oneOf, required, str } from "../schema.ts";
import { whenSubject } from "./when.ts";

// A condition that were dropped would widen an ALLOW: an unknown key refuses the policy.
const whenKey = check(str, (key) => (whenSubject(key) === null ? `key ${key} is not supported yet` : null));
const texts = list(str);
const source = object(
  {
    principals: texts,
    notPrincipals: texts,
    namespaces: texts,
    notNamespaces: texts,
    serviceAccounts: texts,
    notServiceAccounts: texts,
    ipBlocks: texts,
    notIpBlocks: texts,
    remoteIpBlocks: texts,
    notRemoteIpBlocks: texts,
  },
  // Without RequestAuthentication these could never be true, and a DENY on them would be a hole.
  { later: ["requestPrincipals", "notRequestPrincipals", "trustDomains", "notTrustDomains"] },
);
const operation = object({
  hosts: texts,
  notHosts: texts,
  ports: texts,
  notPorts: texts,
  methods: texts,
  notMethods: texts,
  paths: texts,
  notPaths: texts,
});
export const authorizationPolicySpec = object(
  {
    selector: object({ matchLabels: labels }),
    action: oneOf("ALLOW", "DENY", "AUDIT"),
    rules: list(
      object({
        from: list(object({ source: required(source) })),
        to: list(object({ operation: required(operation) })),
        when: list(object({ key: required(whenKey), values: texts, notValues: texts })),
      }),
    ),
  },
  { later: ["targetRef", "targetRefs", "provider"] },
);
export type AuthorizationPolicySpec = Infer<typeof authorizationPolicySpec>;
