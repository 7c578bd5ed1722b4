/** The authorization filters of one chain, asked, as steps. */

import type { WorkloadInfo, XdsAnswer } from "#control-plane/admin/contract.ts";
import { evaluateRbac } from "#sidecar/filters/rbac.ts";
import { remoteAddress } from "#sidecar/http/remote-address.ts";
import type { ConnectionFacts, FilterChain, HeadView } from "#sidecar/snapshot.ts";
import { TYPE } from "#xds/index.ts";
import type { Place, Step } from "./contract.ts";
import { placeOf } from "./places.ts";
import { askPolicies, type RbacRulesJson } from "./rbac.ts";

interface FilterJson {
  readonly typedConfig?: {
    readonly "@type"?: string;
    readonly rules?: RbacRulesJson;
    readonly httpFilters?: readonly FilterJson[];
  };
}
interface ChainJson {
  readonly name?: string;
  readonly filters?: readonly FilterJson[];
}

/** Stops at the first that denies; `network` filters judge the connection, the others the request. */
export function authorize(
  chain: FilterChain,
  at: { readonly listener: string; readonly wire: XdsAnswer; readonly workload: WorkloadInfo },
  facts: ConnectionFacts,
  head: HeadView | null,
): { steps: Step[]; deniedBy: "connection" | "request" | null } {
  const wire = rulesOf(at.wire, at.listener, chain.name);
  const network = chain.networkFilters.flatMap((f) => (f.kind === "rbac" ? [f.rbac] : []));
  const http = chain.terminal.kind === "http" ? chain.terminal.filters : [];
  const all = [...network, ...http.flatMap((f) => (f.kind === "rbac" ? [f.rbac] : []))];
  const client =
    head === null || chain.terminal.kind !== "http"
      ? facts.sourceAddress
      : remoteAddress(head, chain.terminal, facts.sourceAddress);
  const steps: Step[] = [];
  for (const [i, rbac] of all.entries()) {
    if (rbac.rules === null) continue;
    const onConnection = i < network.length;
    const input = {
      connection: facts,
      head: onConnection ? null : head,
      remoteAddress: onConnection ? facts.sourceAddress : client,
    };
    const { allowed, policy } = evaluateRbac(rbac, input);
    const asked = askPolicies(wire[i] ?? {}, input, at.workload);
    const hit = policy === null ? undefined : asked.find((p) => p.matched);
    const { action } = rbac.rules;
    const name = hit?.name ?? policy;
    const text =
      policy === null
        ? `no ${action} rule matched`
        : action === "DENY"
          ? `denied by ${name}`
          : action === "ALLOW"
            ? `allowed by ${name}`
            : `audited by ${name}`;
    steps.push({
      kind: "authorization",
      ok: allowed,
      text,
      place: hit?.place ?? null,
      details: allowed || policy !== null ? [] : refusals(asked, at.workload),
    });
    if (!allowed) return { steps, deniedBy: onConnection ? "connection" : "request" };
  }
  if (all.every((rbac) => rbac.rules === null))
    steps.push({
      kind: "authorization",
      ok: true,
      text: `no AuthorizationPolicy selects ${at.workload.workload}: everyone may`,
      place: null,
      details: [],
    });
  return { steps, deniedBy: null };
}

function refusals(
  asked: ReturnType<typeof askPolicies>,
  workload: WorkloadInfo,
): { text: string; place: Place | null }[] {
  const empty = workload.authorization.filter(
    (a) => a.action === "ALLOW" && !a.dryRun && a.rules.length === 0,
  );
  const places = empty.map(({ source }) => placeOf(source));
  return [
    // On the wire a policy without rules is one that matches nobody: "wants not (anything)" tells nothing.
    ...asked
      .filter((p) => !places.some(({ object }) => object === p.place?.object))
      .map((p) => ({ text: `${p.name} wants ${p.failed ?? "nothing more"}`, place: p.place })),
    ...places.map((place) => ({ text: `${place.object} has no rule: it allows nothing`, place })),
  ];
}

/** The RBAC rules of a chain in the order of its filters, as they came over the wire: names and clauses to show. */
function rulesOf(wire: XdsAnswer, listener: string, chain: string): (RbacRulesJson | undefined)[] {
  const found = (wire[TYPE.listener] ?? []).find((l) => (l as { name?: string }).name === listener) as
    | { filterChains?: readonly ChainJson[]; defaultFilterChain?: ChainJson }
    | undefined;
  const chains = [
    ...(found?.filterChains ?? []),
    ...(found?.defaultFilterChain ? [found.defaultFilterChain] : []),
  ];
  const filters = chains.find((c) => (c.name ?? "") === chain)?.filters ?? [];
  const isRbac = ({ typedConfig }: FilterJson) => typedConfig?.["@type"]?.endsWith(".RBAC") === true;
  return filters
    .flatMap((f) => [f, ...(f.typedConfig?.httpFilters ?? [])])
    .filter(isRbac)
    .map((f) => f.typedConfig?.rules);
}
