/** The table of each kind: the columns that kubectl and Istio's own definitions print, and where it was written. */
import { relative } from "node:path";
import type { Listed } from "./listing.ts";

type Json = Readonly<Record<string, unknown>>;
type Column = readonly [head: string, cell: (o: Listed) => string];
interface Columns {
  readonly plain: readonly Column[];
  /** With `-o wide`, too. */
  readonly wide?: readonly Column[];
}

const text = (value: unknown): string =>
  value === undefined || value === null
    ? ""
    : Array.isArray(value)
      ? value.map(text).join(",")
      : typeof value === "object"
        ? JSON.stringify(value)
        : String(value);
const at =
  (...path: string[]) =>
  ({ manifest }: Listed): string => {
    let value: unknown = manifest;
    for (const key of path) value = (value as Json | undefined)?.[key];
    return text(value);
  };
const count = (value: number | undefined): string => (value === undefined ? "" : String(value));
const list = (value: unknown): readonly Json[] => (Array.isArray(value) ? (value as Json[]) : []);

/** As kubectl: 12s, 3m, 5h, 2d. */
export function age(since: string | undefined, now: number): string {
  const seconds = Math.floor((now - Date.parse(since ?? "")) / 1000);
  if (!(seconds >= 0)) return "";
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 2 * 3600) return `${Math.floor(seconds / 60)}m`;
  return seconds < 2 * 86_400 ? `${Math.floor(seconds / 3600)}h` : `${Math.floor(seconds / 86_400)}d`;
}

function podColumns(now: number): Columns {
  return {
    plain: [
      ["READY", (o) => ((o.pod?.ready ?? readyCondition(o)) ? "yes" : "no")],
      ["STATUS", (o) => o.pod?.reason ?? at("status", "phase")(o)],
      ["RESTARTS", (o) => String(restarts(o))],
      ["AGE", (o) => age(o.pod?.started, now)],
      ["IP", (o) => o.pod?.podIp || at("status", "podIP")(o)],
    ],
    wide: [
      ["WORKLOAD", (o) => o.pod?.workload ?? text(o.manifest.metadata?.ownerReferences?.[0]?.name)],
      ["REVISION", (o) => (o.pod?.revision ? String(o.pod.revision) : "")],
      ["CONTAINERS", (o) => (o.pod?.containers ?? []).map(({ name }) => name).join(",")],
    ],
  };
}

function readyCondition({ manifest: { status } }: Listed): boolean {
  return list(status?.["conditions"]).some((c) => c["type"] === "Ready" && c["status"] === "True");
}

function restarts({ pod, manifest: { status } }: Listed): number {
  if (pod !== null) return pod.containers.reduce((sum, c) => sum + c.restarts, 0);
  return list(status?.["containerStatuses"]).reduce((sum, c) => sum + Number(c["restartCount"] ?? 0), 0);
}

const SCALED: Columns = {
  plain: [
    ["READY", ({ workload: w }) => (w === null ? "" : `${w.readyPods}/${w.desired}`)],
    ["UP-TO-DATE", ({ workload: w }) => count(w?.updated)],
    ["AVAILABLE", ({ workload: w }) => count(w?.available)],
  ],
  wide: [
    ["REVISION", ({ workload: w }) => (w?.revision ? String(w.revision) : "")],
    ["STATE", ({ workload: w }) => (w?.paused ? "paused" : (w?.rollout?.state ?? ""))],
  ],
};

const KINDS: Readonly<Record<string, Columns>> = {
  Deployment: SCALED,
  ReplicaSet: SCALED,
  StatefulSet: SCALED,
  DaemonSet: SCALED,
  Job: {
    plain: [
      [
        "STATUS",
        ({ workload: w }) =>
          w?.conditions.findLast((c) => c.status === "True")?.type ?? (w?.job?.active ? "Running" : ""),
      ],
      ["COMPLETIONS", ({ workload: w }) => (w === null ? "" : `${w.job?.succeeded ?? 0}/${w.desired}`)],
    ],
    wide: [["FAILED", ({ workload: w }) => count(w?.job?.failed)]],
  },
  CronJob: {
    plain: [
      ["SCHEDULE", at("spec", "schedule")],
      ["SUSPEND", ({ workload: w }) => (w?.cron === undefined ? "" : w.cron.suspended ? "yes" : "no")],
      ["ACTIVE", ({ workload: w }) => count(w?.cron?.active.length)],
      ["LAST", ({ workload: w }) => w?.cron?.lastSchedule ?? ""],
    ],
    wide: [["NEXT", ({ workload: w }) => w?.cron?.nextSchedule ?? ""]],
  },
  HorizontalPodAutoscaler: {
    plain: [
      ["REFERENCE", (o) => o.workload?.autoscaler?.target ?? at("spec", "scaleTargetRef", "name")(o)],
      ["TARGETS", ({ workload: w }) => (w?.autoscaler?.metrics ?? []).join(", ")],
      ["MINPODS", ({ workload: w }) => count(w?.autoscaler?.minReplicas)],
      ["MAXPODS", ({ workload: w }) => count(w?.autoscaler?.maxReplicas)],
      ["REPLICAS", ({ workload: w }) => count(w?.current)],
    ],
  },
  Service: {
    plain: [
      ["TYPE", (o) => at("spec", "type")(o) || "ClusterIP"],
      ["PORT(S)", ({ manifest: { spec } }) => list(spec?.["ports"]).map(servicePort).join(",")],
    ],
    wide: [["SELECTOR", ({ manifest: { spec } }) => pairs(spec?.["selector"])]],
  },
  VirtualService: {
    plain: [
      ["GATEWAYS", at("spec", "gateways")],
      ["HOSTS", at("spec", "hosts")],
    ],
  },
  DestinationRule: { plain: [["HOST", at("spec", "host")]] },
  ServiceEntry: {
    plain: [
      ["HOSTS", at("spec", "hosts")],
      ["LOCATION", at("spec", "location")],
      ["RESOLUTION", at("spec", "resolution")],
    ],
  },
  PeerAuthentication: { plain: [["MODE", at("spec", "mtls", "mode")]] },
  AuthorizationPolicy: { plain: [["ACTION", (o) => at("spec", "action")(o) || "ALLOW"]] },
  HTTPRoute: { plain: [["HOSTNAMES", at("spec", "hostnames")]] },
  ConfigMap: { plain: [["DATA", ({ manifest }) => size(manifest)]] },
  Secret: {
    plain: [
      ["TYPE", at("type")],
      ["DATA", ({ manifest }) => size(manifest)],
    ],
  },
};

function servicePort(port: Json): string {
  const target =
    port["targetPort"] === undefined || port["targetPort"] === port["port"]
      ? ""
      : `:${text(port["targetPort"])}`;
  return `${text(port["port"])}${target}/${text(port["protocol"]) || "TCP"}`;
}

function pairs(value: unknown): string {
  return Object.entries((value ?? {}) as Json)
    .map(([key, one]) => `${key}=${text(one)}`)
    .join(",");
}

function size(manifest: object): string {
  const { data = {}, stringData = {}, binaryData = {} } = manifest as Record<string, object | undefined>;
  return String(Object.keys({ ...data, ...stringData, ...binaryData }).length);
}

export interface TableOptions {
  readonly wide: boolean;
  /** `kind/name` instead of the name: where several kinds are shown. */
  readonly named: boolean;
  readonly cwd: string;
  /** ms since the epoch. */
  readonly now: number;
}

/** Objects of one kind: heads, then a row each. */
export function objectRows(objects: readonly Listed[], { wide, named, cwd, now }: TableOptions): string[][] {
  const kind = objects[0]?.kind ?? "";
  const own = kind === "Pod" ? podColumns(now) : (KINDS[kind] ?? { plain: [] });
  const columns: Column[] = [
    ...(objects.some((o) => o.namespace !== "") ? [["NAMESPACE", (o: Listed) => o.namespace] as const] : []),
    ["NAME", (o) => (named ? `${kind.toLowerCase()}/${o.name}` : o.name)],
    ...own.plain,
    ...(wide ? (own.wide ?? []) : []),
    ...(kind === "Pod" ? [] : [["SOURCE", (o: Listed) => place(o, cwd)] as const]),
  ];
  return [columns.map(([head]) => head), ...objects.map((o) => columns.map(([, cell]) => cell(o)))];
}

/** `examples/bookinfo/platform.yaml:12`, short where it lies below the folder of the terminal. */
export function place({ source }: Listed, cwd: string): string {
  if (source === null) return "";
  const short = relative(cwd, source.file);
  return `${short.startsWith("..") ? source.file : short}:${source.line}`;
}
