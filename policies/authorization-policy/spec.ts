import {
  list,
  nonEmptyList,
  object,
  oneOf,
  type Path,
  type Report,
  refine,
  required,
  type Schema,
  text,
} from "../schema.ts";
import { selector } from "../selector.ts";
import {
  hosts,
  methods,
  namespaces,
  paths,
  plain,
  ports,
  principals,
  ranges,
  serviceAccounts,
  trustDomains,
} from "./values.ts";
import { whenSubject } from "./when.ts";

const isEmpty = (entry: Readonly<Record<string, readonly string[] | undefined>>): boolean =>
  Object.values(entry).every((values) => values === undefined || values.length === 0);

/** An entry without a condition would mean anyone and anything. */
function refuseEmpty(field: string) {
  return (
    entry: Readonly<Record<string, readonly string[] | undefined>>,
    path: Path,
    report: Report,
  ): void => {
    if (isEmpty(entry))
      report(path, "empty-block", `${field} must not be empty: name a condition, or take the entry out`);
  };
}

const source = refine(
  object(
    {
      principals,
      notPrincipals: principals,
      namespaces,
      notNamespaces: namespaces,
      serviceAccounts,
      notServiceAccounts: serviceAccounts,
      ipBlocks: ranges,
      notIpBlocks: ranges,
      remoteIpBlocks: ranges,
      notRemoteIpBlocks: ranges,
      trustDomains,
      notTrustDomains: trustDomains,
    },
    // Without RequestAuthentication these could never be true, and a DENY on them would be a hole.
    { later: ["requestPrincipals", "notRequestPrincipals"] },
  ),
  (s, path, report) => {
    refuseEmpty("source")(s, path, report);
    const has = (...lists: (readonly string[] | undefined)[]) => lists.some((l) => (l?.length ?? 0) > 0);
    if (
      has(s.serviceAccounts, s.notServiceAccounts) &&
      has(s.principals, s.notPrincipals, s.namespaces, s.notNamespaces)
    )
      report(path, "invalid-value", "has serviceAccounts beside principals or namespaces: say one of them");
  },
);
const operation = refine(
  object({
    hosts,
    notHosts: hosts,
    ports,
    notPorts: ports,
    methods,
    notMethods: methods,
    paths,
    notPaths: paths,
  }),
  refuseEmpty("operation"),
);

const VALUES: Readonly<Record<string, Schema<readonly string[]>>> = {
  principal: principals,
  namespace: namespaces,
  "service-account": serviceAccounts,
  "trust-domain": trustDomains,
  "source-ip": ranges,
  "remote-ip": ranges,
  "destination-ip": ranges,
  "destination-port": ports,
};
const condition = refine(
  object({ key: required(text("when-key")), values: list(plain), notValues: list(plain) }),
  (w, path, report) => {
    const subject = whenSubject(w.key);
    // A condition that were dropped would widen an ALLOW: an unknown key refuses the policy.
    if (subject === null)
      return report([...path, "key"], "invalid-value", `key ${w.key} is not supported yet`);
    if ((w.values?.length ?? 0) + (w.notValues?.length ?? 0) === 0)
      return report(path, "empty-block", "needs values or notValues");
    for (const field of ["values", "notValues"] as const)
      VALUES[subject.kind]?.(w[field] ?? [], [...path, field], report);
  },
);
export const authorizationPolicySpec = refine(
  object(
    {
      selector,
      action: oneOf("ALLOW", "DENY", "AUDIT"),
      rules: list(
        // What was left without a value would let everybody in.
        object(
          {
            from: nonEmptyList(object({ source: required(source) })),
            to: nonEmptyList(object({ operation: required(operation) })),
            when: list(condition),
          },
          { valued: ["from", "to", "when"] },
        ),
      ),
    },
    // A DENY without its word would be an ALLOW.
    { later: ["targetRef", "targetRefs", "provider"], valued: ["action"] },
  ),
  (p, path, report) => {
    if (p.action === "DENY" && (p.rules ?? []).length === 0)
      report(path, "empty-block", "DENY without rules denies nothing: say `rules: [{}]` to deny everything");
  },
);
