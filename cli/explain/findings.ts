/** What one proxy's decision says to people, in the order of evaluation. */
import type { SourceInfo, WorkloadInfo } from "#control-plane/admin/contract.ts";
import type { Decision } from "#sidecar/decide.ts";

export interface Finding {
  readonly what: string;
  readonly text: string;
  readonly source: { readonly object: string; readonly file: string; readonly line: number } | null;
  readonly outcome: "pass" | "stop" | "note";
}

export function destination(
  cluster: Decision["clusters"][number],
  share: number,
  split: boolean,
  asked: { readonly authority: string; readonly path: string },
): Finding {
  const [, port, subset, host] = cluster.name.split("|");
  const what = host === undefined ? cluster.name : `${host}:${port}${subset ? `, subset ${subset}` : ""}`;
  const ready = cluster.endpoints.filter(({ healthy }) => healthy).length;
  const ends =
    host === undefined
      ? ""
      : !cluster.known
        ? ": no such service or subset"
        : `: ${ready} of ${cluster.endpoints.length} endpoints ready`;
  const mtlsText = cluster.endpoints.some(({ tls }) => tls) ? ", mutual TLS" : "";
  const { forwarded } = cluster;
  const rewritten =
    forwarded !== null && (forwarded.authority !== asked.authority || forwarded.path !== asked.path)
      ? `, rewritten to ${forwarded.authority}${forwarded.path}`
      : "";
  return {
    what: "destination",
    text: `${split ? `${round(share)} % to ` : ""}${what}${ends}${mtlsText}${rewritten}`,
    source: place(cluster.config, cluster.source),
    outcome: ready > 0 || host === undefined ? "pass" : "stop",
  };
}

export const round = (n: number): number => Math.round(n * 100) / 100;

export function mtls(target: WorkloadInfo, port: number, tls: boolean, from: WorkloadInfo): Finding {
  const at = target.inbound.find((p) => p.port === port);
  const mode = at?.mtls ?? "PERMISSIVE";
  const refused = (mode === "STRICT" && !tls) || (mode === "DISABLE" && tls);
  return {
    what: "mutual TLS",
    text: `${mode}; the caller ${tls ? `proves ${from.spiffeId}` : "sends plaintext"}`,
    source: at?.mtlsSource ? located(at.mtlsSource) : null,
    outcome: refused ? "stop" : "pass",
  };
}

/** Listener, authorization, faults and route of one decision, in the order of evaluation. */
export function describe(decision: Decision, at: WorkloadInfo): Finding[] {
  const findings: Finding[] = [];
  const note = (
    what: string,
    text: string,
    outcome: Finding["outcome"] = "pass",
    source: Finding["source"] = null,
  ) => findings.push({ what, text, source, outcome });
  if (decision.listener === null || decision.chain === null) note("listener", decision.reason, "stop");
  for (const filter of decision.filters) {
    if (filter.name.endsWith("rbac")) findings.push(...authorization(filter, at));
    else
      note(
        "fault",
        `${filter.verdict} ${filter.policy ?? ""}`,
        "note",
        place(decision.config, decision.source),
      );
  }
  // An inbound chain has one route, to the application.
  const routed = decision.virtualHost !== null && !decision.virtualHost.startsWith("inbound|");
  if (routed || decision.status === 404)
    note(
      "route",
      decision.route === null
        ? decision.reason
        : `${decision.virtualHost}${decision.route === "" || decision.route === "default" ? "" : `, route ${decision.route}`}`,
      decision.status === 404 ? "stop" : "pass",
      place(decision.config, decision.source),
    );
  if (
    decision.status !== null &&
    decision.status !== 404 &&
    decision.status !== 403 &&
    decision.chain !== null
  )
    note("answer", `${decision.status} ${decision.reason}`, "stop", place(decision.config, decision.source));
  return findings;
}

function authorization(filter: Decision["filters"][number], at: WorkloadInfo): Finding[] {
  const denied = filter.verdict === "deny";
  if (filter.policy !== null) {
    const text = denied ? "denied by" : "allowed by";
    const policy = ruleOf(filter.policy, at);
    // A LOG or DENY filter that lets the request pass names the policy that logged, not one that allowed.
    return [
      {
        what: "authorization",
        text: `${text} ${policy.text}`,
        source: policy.source,
        outcome: denied ? "stop" : "pass",
      },
    ];
  }
  if (!denied)
    return [{ what: "authorization", text: "no DENY policy matches", source: null, outcome: "pass" }];
  return [
    { what: "authorization", text: "denied: no ALLOW policy matches", source: null, outcome: "stop" },
    ...filter.asked.map((asked): Finding => {
      const policy = ruleOf(asked.policy, at);
      const why = asked.caller
        ? "the caller may, but not this operation"
        : asked.operation
          ? "this operation is allowed, but not to this caller"
          : "neither the caller nor the operation matches";
      return { what: "", text: `${policy.text}: ${why}`, source: policy.source, outcome: "note" };
    }),
  ];
}

/** `ns[default]-policy[ratings]-rule[0]` with the place of that rule. */
function ruleOf(name: string, at: WorkloadInfo): { text: string; source: Finding["source"] } {
  const [, namespace, policy, index] = /^ns\[(.+)\]-policy\[(.+)\]-rule\[(\d+)\]$/.exec(name) ?? [];
  if (policy === undefined) return { text: name, source: null };
  const found = at.authorization.find((a) => a.source.name === policy && a.source.namespace === namespace);
  const rule = found?.rules.find((r) => r.index === Number(index));
  const source = rule?.source ?? found?.source;
  const text =
    rule === undefined ? `${namespace}/${policy} (it has no rules)` : `${namespace}/${policy} rule ${index}`;
  return { text, source: source === undefined ? null : located(source) };
}

function located({ kind, namespace, name, file, line }: SourceInfo): Finding["source"] {
  return { object: `${kind} ${namespace}/${name}`, file, line };
}

/** From route and cluster metadata: istiod's config path, and "file:line". */
function place(config: string | null, source: string | null): Finding["source"] {
  const path = /^\/apis\/[^/]+\/[^/]+\/namespaces\/([^/]*)\/([^/]+)\/(.+)$/.exec(config ?? "");
  const at = /^(.*):(\d+)$/.exec(source ?? "");
  if (path === null || at === null) return null;
  const kind = path[2]!.replace(/(^|-)([a-z])/g, (_, _dash, letter: string) => letter.toUpperCase());
  return {
    object: `${kind.replace("Httproute", "HTTPRoute")} ${path[1]}/${path[3]}`,
    file: at[1]!,
    line: Number(at[2]),
  };
}
