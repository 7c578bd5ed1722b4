/** What each kind means to the mesh, in sections: a title and its lines. */

import type { SourceInfo, WorkloadInfo } from "#control-plane/admin/contract.ts";
import { isMade, type Listed } from "../listing.ts";
import { age, place } from "../object-tables.ts";
import { yamlText } from "../output.ts";
import { hang } from "../text.ts";
import { type Facts, hasAll, servicesNamed } from "./facts.ts";

/** Lines, or a table with its heads; none: the section is left out. */
export type Section = readonly [title: string, content: readonly string[] | string[][]];
type Json = Readonly<Record<string, unknown>>;

const rows = (cells: string[][]): string[][] => (cells.length < 2 ? [] : cells);
const list = (value: unknown): readonly Json[] => (Array.isArray(value) ? (value as Json[]) : []);
const strings = (value: unknown): readonly string[] => (Array.isArray(value) ? value.map(String) : []);
const labelsOf = ({ manifest }: Listed): Readonly<Record<string, string>> => manifest.metadata?.labels ?? {};

/** Head, what the kind has to say, issues; a kind without words of its own shows its spec. */
export function sectionsOf(o: Listed, facts: Facts): Section[] {
  const of = BY_KIND[o.kind];
  return [head(o, facts), ...(of === undefined ? [specSection(o)] : of(o, facts)), issues(o, facts)];
}

function head(o: Listed, { cwd, now }: Facts): Section {
  const { annotations = {}, ownerReferences = [] } = o.manifest.metadata ?? {};
  const lines: [string, string][] = [
    ["Name", o.name],
    ["Namespace", o.namespace],
    ["Kind", `${o.kind} (${o.manifest.apiVersion ?? ""})`],
    ["Labels", pairs(labelsOf(o))],
    ["Annotations", pairs(annotations)],
    ["Written in", isMade(o) ? "" : place(o, cwd)],
    [
      "Made by",
      o.source === null ? "the platform" : ownerReferences.map((r) => `${r.kind ?? ""} ${r.name}`).join(", "),
    ],
    ...state(o, now),
  ];
  return [
    "",
    lines
      .filter(([, value]) => value !== "")
      .map(([key, value]) => `${`${key}:`.padEnd(14)}${hang(value, 100, 14)}`),
  ];
}

function state({ pod, workload: w }: Listed, now: number): [string, string][] {
  if (pod !== null)
    return [
      [
        "Status",
        `${pod.reason}, ${pod.ready ? "ready" : "not ready"}, for ${age(pod.started, now) || "some time"}`,
      ],
      ...(pod.message === "" ? [] : [["Because", pod.message] as [string, string]]),
      ...pod.notes.map((note) => ["Note", note] as [string, string]),
      ["Address", pod.podIp],
    ];
  if (w === null) return [];
  return [
    [
      "Pods",
      w.kind === "CronJob" || w.kind === "HorizontalPodAutoscaler"
        ? ""
        : `${w.desired} wanted, ${w.current} there, ${w.updated} up to date, ${w.readyPods} ready, ${w.available} available`,
    ],
    ["Rollout", w.rollout?.message ?? ""],
    [
      "Job",
      w.job === undefined
        ? ""
        : `${w.job.active} active, ${w.job.succeeded} succeeded, ${w.job.failed} failed`,
    ],
    [
      "Schedule",
      w.cron === undefined
        ? ""
        : `${w.cron.schedule}${w.cron.suspended ? ", suspended" : ""}; last ${w.cron.lastSchedule ?? "never"}, next ${w.cron.nextSchedule ?? "never"}`,
    ],
    [
      "Scales",
      w.autoscaler === undefined
        ? ""
        : `${w.autoscaler.target} from ${w.autoscaler.minReplicas} to ${w.autoscaler.maxReplicas}; ${w.autoscaler.metrics.join(", ")}`,
    ],
    ["Changed", w.changed.join("; ")],
  ];
}

const pairs = (labels: Readonly<Record<string, string>>): string =>
  Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(", ");

const BY_KIND: Readonly<Record<string, (o: Listed, facts: Facts) => Section[]>> = {
  Pod: (o, facts) => [
    containers(o),
    identity([o], facts),
    ports([o], facts),
    selectedBy([o], facts),
    policies([o], facts),
  ],
  Service: service,
  Deployment: workload,
  StatefulSet: workload,
  DaemonSet: workload,
  ReplicaSet: workload,
  Job: workload,
  CronJob: (o, facts) => [...workload(o, facts), specSection(o)],
  HorizontalPodAutoscaler: (o) => [conditions(o), specSection(o)],
  VirtualService: route,
  HTTPRoute: route,
  DestinationRule: (o, facts) => [
    hostsSection([String(o.manifest.spec?.["host"] ?? "")], o, facts),
    specSection(o),
  ],
  PeerAuthentication: policy,
  AuthorizationPolicy: policy,
  Gateway: gateway,
  Namespace: namespace,
  ConfigMap: keys,
  Secret: keys,
};

function containers({ pod }: Listed): Section {
  const cells = (pod?.containers ?? []).map((c) => [
    c.name,
    c.role,
    c.state,
    c.ready ? "yes" : "no",
    c.pid === undefined ? "" : String(c.pid),
    String(c.restarts),
    c.lastExit ?? "",
  ]);
  return ["Containers", rows([["NAME", "ROLE", "STATE", "READY", "PID", "RESTARTS", "LAST EXIT"], ...cells])];
}

/** What the control plane knows of pods: only of those that have an address. */
const infoOf = (pods: readonly Listed[], { workloads }: Facts): WorkloadInfo[] =>
  workloads.filter((w) => pods.some((p) => p.name === w.pod && p.namespace === w.namespace));

function identity(pods: readonly Listed[], facts: Facts): Section {
  const ids = new Set(infoOf(pods, facts).map((w) => w.spiffeId));
  return ["Identity", [...ids]];
}

/** Each port and what the mesh takes there; pods of one workload say it once. */
function ports(pods: readonly Listed[], facts: Facts): Section {
  const cells = infoOf(pods, facts).flatMap(({ inbound }) =>
    inbound.map((p) => [
      String(p.port),
      p.protocol,
      p.mtls,
      p.mtlsSource === null ? "the mesh's default" : at(p.mtlsSource, facts),
    ]),
  );
  return ["Ports", rows([["PORT", "PROTOCOL", "MTLS", "BECAUSE OF"], ...unique(cells)])];
}

const unique = (cells: string[][]): string[][] => [
  ...new Map(cells.map((row) => [row.join("\t"), row])).values(),
];

function at({ kind, namespace, name, file, line }: SourceInfo, facts: Facts): string {
  return `${kind} ${namespace}/${name}  ${place({ source: { file, line } } as Listed, facts.cwd)}`;
}

/** Services whose selector fits the pods. */
function selectedBy(pods: readonly Listed[], facts: Facts): Section {
  const services = facts.objects.filter(
    (s) => s.kind === "Service" && pods.some((p) => p.namespace === s.namespace && selects(s, p)),
  );
  return ["Services", services.map((s) => `${s.namespace}/${s.name}  ${place(s, facts.cwd)}`)];
}

function selects(service: Listed, pod: Listed): boolean {
  const selector = service.manifest.spec?.["selector"] as Json | undefined;
  return Object.keys(selector ?? {}).length > 0 && hasAll(labelsOf(pod), selector);
}

/** Which policies hold for the pods: security as the control plane resolved it, traffic by the Services' hosts. */
function policies(pods: readonly Listed[], facts: Facts, hosts: readonly string[] = []): Section {
  const cells = infoOf(pods, facts).flatMap((w) =>
    w.authorization.map((p) => [
      `AuthorizationPolicy ${p.source.namespace}/${p.source.name}`,
      `${p.action}${p.dryRun ? " (dry run)" : ""}`,
      place({ source: p.source } as unknown as Listed, facts.cwd),
    ]),
  );
  const traffic = facts.objects
    .filter((o) =>
      hostsOf(o).some((host) =>
        servicesNamed(host, o.namespace, facts.services).some((s) => hosts.includes(s.host)),
      ),
    )
    .map((o) => [
      `${o.kind} ${o.namespace}/${o.name}`,
      o.kind === "DestinationRule" ? "how it is called" : "where requests go",
      place(o, facts.cwd),
    ]);
  return ["Policies", rows([["POLICY", "DOES", "WRITTEN IN"], ...unique([...traffic, ...cells])])];
}

/** Hosts that a traffic policy speaks of; of an HTTPRoute the Services that it hangs on. */
function hostsOf({ kind, manifest: { spec = {} } }: Listed): readonly string[] {
  if (kind === "VirtualService") {
    const gateways = strings(spec["gateways"]);
    return gateways.length === 0 || gateways.includes("mesh") ? strings(spec["hosts"]) : [];
  }
  if (kind === "DestinationRule") return [String(spec["host"] ?? "")];
  if (kind === "HTTPRoute")
    return list(spec["parentRefs"]).flatMap((r) =>
      r["kind"] === "Service" ? [[r["name"], r["namespace"]].filter(Boolean).join(".")] : [],
    );
  return [];
}

function service(o: Listed, facts: Facts): Section[] {
  const pods = facts.objects.filter((p) => p.kind === "Pod" && p.namespace === o.namespace && selects(o, p));
  const known = facts.services.filter((s) => s.name === o.name && s.namespace === o.namespace);
  const targets = list(o.manifest.spec?.["ports"]);
  const portRows = known.flatMap((s) =>
    s.ports.map((p) => [
      p.name,
      String(p.number),
      String(targets.find((t) => t["port"] === p.number)?.["targetPort"] ?? p.number),
      p.protocol,
    ]),
  );
  return [
    ["Addresses", known.flatMap((s) => [s.host, ...s.addresses])],
    ["Ports", rows([["NAME", "PORT", "TARGET", "PROTOCOL IN THE MESH"], ...portRows])],
    ["Selector", [pairs((o.manifest.spec?.["selector"] ?? {}) as Record<string, string>)].filter(Boolean)],
    endpoints(pods, "selects no pod that is there"),
    policies(
      pods,
      facts,
      known.map((s) => s.host),
    ),
  ];
}

function endpoints(pods: readonly Listed[], none: string): Section {
  const cells = pods.map((p) => [
    p.name,
    p.pod?.podIp ?? "",
    p.pod?.ready ? "yes" : "no",
    p.pod?.reason ?? "",
    String(p.pod?.containers.reduce((n, c) => n + c.restarts, 0) ?? 0),
    p.pod?.containers.map((c) => c.lastExit).find(Boolean) ?? "",
  ]);
  return [
    "Pods",
    cells.length === 0
      ? [none]
      : rows([["NAME", "ADDRESS", "READY", "STATUS", "RESTARTS", "LAST EXIT"], ...cells]),
  ];
}

function workload(o: Listed, facts: Facts): Section[] {
  const pods = facts.objects.filter(
    (p) => p.kind === "Pod" && p.namespace === o.namespace && p.pod?.workload === o.name,
  );
  return [
    conditions(o),
    endpoints(pods, "there are none"),
    identity(pods, facts),
    ports(pods, facts),
    selectedBy(pods, facts),
    policies(pods, facts),
  ];
}

function conditions({ workload: w }: Listed): Section {
  const cells = (w?.conditions ?? []).map((c) => [c.type, c.status, c.reason, c.message]);
  return ["Conditions", rows([["TYPE", "STATUS", "REASON", "MESSAGE"], ...cells])];
}

function hostsSection(hosts: readonly string[], o: Listed, { services }: Facts): Section {
  return [
    "Hosts",
    hosts.map((host) => {
      const found = servicesNamed(host, o.namespace, services).map((s) => s.host);
      return `${host}  ${found.length === 0 ? "(no Service or ServiceEntry of the mesh)" : `-> ${found.join(", ")}`}`;
    }),
  ];
}

function route(o: Listed, facts: Facts): Section[] {
  const { spec = {} } = o.manifest;
  const gateways = strings(spec["gateways"]);
  const parents = list(spec["parentRefs"]).map(
    (r) => `${String(r["kind"] ?? "Gateway")} ${String(r["name"])}`,
  );
  const hosts =
    o.kind === "HTTPRoute" ? [...hostsOf(o), ...strings(spec["hostnames"])] : strings(spec["hosts"]);
  return [
    hostsSection(hosts, o, facts),
    [
      "Holds at",
      gateways.length + parents.length > 0 ? [...gateways, ...parents] : ["every sidecar of the mesh"],
    ],
    specSection(o),
  ];
}

/** The pods that a security policy holds for, as the control plane resolved it. */
function policy(o: Listed, facts: Facts): Section[] {
  const is = (s: SourceInfo | null): boolean =>
    s !== null && s.kind === o.kind && s.namespace === o.namespace && s.name === o.name;
  const pods = facts.workloads.filter(
    (w) => w.authorization.some((p) => is(p.source)) || w.inbound.some((p) => is(p.mtlsSource)),
  );
  return [
    ["Holds for", pods.length === 0 ? ["no pod that is there"] : pods.map((w) => `${w.pod}.${w.namespace}`)],
    specSection(o),
  ];
}

function gateway(o: Listed, facts: Facts): Section[] {
  const selector = o.manifest.spec?.["selector"];
  const pods = facts.workloads.filter((w) => w.kind === "gateway" && hasAll(w.labels, selector));
  const routes = facts.objects.filter((r) => {
    const names = [
      ...strings(r.manifest.spec?.["gateways"]),
      ...list(r.manifest.spec?.["parentRefs"]).map((p) => String(p["name"])),
    ];
    return (
      (r.kind === "VirtualService" || r.kind === "HTTPRoute") &&
      (names.includes(o.name) || names.includes(`${o.namespace}/${o.name}`))
    );
  });
  return [
    [
      "Served by",
      selector === undefined
        ? []
        : pods.length === 0
          ? ["no gateway pod has these labels"]
          : pods.map((w) => `${w.pod}.${w.namespace}`),
    ],
    ["Routes", routes.map((r) => `${r.kind} ${r.namespace}/${r.name}  ${place(r, facts.cwd)}`)],
    specSection(o),
  ];
}

function namespace(o: Listed, { objects }: Facts): Section[] {
  const counts = new Map<string, number>();
  for (const one of objects)
    if (one.namespace === o.name) counts.set(one.kind, (counts.get(one.kind) ?? 0) + 1);
  return [["Objects", rows([["KIND", "COUNT"], ...[...counts].map(([kind, n]) => [kind, String(n)])])]];
}

/** Of a Secret the keys alone: what it holds does not even come here. */
function keys({ kind, manifest }: Listed): Section[] {
  const {
    data = {},
    stringData = {},
    binaryData = {},
  } = manifest as Record<string, Readonly<Record<string, string>> | undefined>;
  const lines = Object.entries({ ...data, ...stringData, ...binaryData }).map(([key, value]) =>
    kind === "Secret" ? key : `${key}: ${String(value).length} characters`,
  );
  return [["Data", lines]];
}

function specSection({ manifest: { spec } }: Listed): Section {
  return ["Spec", spec === undefined ? [] : yamlText(spec).trimEnd().split("\n")];
}

function issues(o: Listed, facts: Facts): Section {
  const name = o.namespace === "" ? `${o.kind} ${o.name}` : `${o.kind} ${o.namespace}/${o.name}`;
  const mine = facts.issues.filter((line) => line.includes(`: ${name}: `) || line.endsWith(`: ${name}`));
  return ["Issues", mine];
}
