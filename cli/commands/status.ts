import { existsSync } from "node:fs";
import { join } from "node:path";
import type { ObjectsAnswer, StatusAnswer, WorldAnswer } from "#control-plane/admin/contract.ts";
import { sayIssue } from "#policies/index.ts";
import { AdminClient } from "../admin-client.ts";
import { issuesOfListed } from "../check.ts";
import type { Command } from "../command.ts";
import { EXIT } from "../errors.ts";
import { platformStatus } from "../platform-client.ts";
import { platformPods } from "../pods.ts";

type Proxy = StatusAnswer["proxies"][number];
type TypeStatus = Proxy["types"][string];

/** istioctl's words: SYNCED when the last version sent was acknowledged, STALE before, NACK when refused. */
function synced(type: TypeStatus | undefined): string {
  if (type === undefined) return "NOT SENT";
  if (type.nack) return "NACK";
  return type.acked === type.sent && type.upToDate ? "SYNCED" : "STALE";
}

const COLUMNS = [
  ["CDS", "Cluster"],
  ["LDS", "Listener"],
  ["EDS", "ClusterLoadAssignment"],
  ["RDS", "RouteConfiguration"],
] as const;

export const status: Command = {
  name: "status",
  summary:
    "Every proxy: is it connected, what has it acknowledged or refused; and what is wrong with policies",
  args: [],
  options: [],
  examples: ["weft status", "weft status -o json"],
  notes:
    "SYNCED: the last version sent is acknowledged. STALE: not yet. NACK: refused, the last good one serves.\nExit code 1 when a pod is not ready, a proxy is not connected or refused its configuration, or a policy has an error.",
  async run({ out, stateDir }) {
    const admin = AdminClient.controlPlane(stateDir);
    const answer = await admin.get<StatusAnswer>("/status");
    const world = await admin.get<WorldAnswer>("/world");
    const { objects } = await admin.get<ObjectsAnswer>("/objects");
    const issues = issuesOfListed(objects, stateDir);
    const say = (level: string): string[] => issues.filter((i) => i.level === level).map(sayIssue);
    const errors = [...world.errors, ...say("error")];
    const { awaited } = world;
    const pods = platformPods(stateDir);
    const proxies = answer.proxies.toSorted((a, b) => podOf(a).localeCompare(podOf(b)));
    const rows = proxies.map((proxy) => ({
      proxy,
      pod: pods.find((p) => nameOf(p) === podOf(proxy)),
    }));
    const absent = pods.filter((p) => !proxies.some((proxy) => podOf(proxy) === nameOf(p)));
    const { workloads, ...of } = await platformTroubles(stateDir);
    const warnings = [...world.warnings, ...say("warning"), ...of.notes];
    const troubles = [...proxies.flatMap(troublesOf), ...workloads, ...of.pods];
    out.document({ ...answer, pods, errors, warnings, awaited }, () => {
      const lines = [
        ["PROXY", "READY", "CONNECTED", "RESTARTS", ...COLUMNS.map(([head]) => head)],
        ...rows.map(({ proxy, pod }) => [
          podOf(proxy),
          pod === undefined ? "" : pod.ready ? "yes" : "no",
          proxy.connected ? "yes" : "no",
          pod === undefined ? "" : String(pod.restarts),
          ...COLUMNS.map(([, suffix]) => synced(find(proxy.types, suffix))),
        ]),
        ...absent.map((pod) => [
          nameOf(pod),
          pod.ended ? "ended" : pod.ready ? "yes" : "no",
          pod.ended ? "" : "no proxy",
          String(pod.restarts),
        ]),
      ];
      return [
        out.table(lines),
        ...troubles.map((line) => out.bad(line)),
        ...errors.map((line) => out.bad(`error: ${line}`)),
        ...warnings.map((line) => `warning: ${line}`),
        ...awaited.map((line) => `awaited: ${line}`),
      ].join("\n");
    });
    const down = pods.some((pod) => !pod.ready && !pod.ended) || proxies.some((proxy) => !proxy.connected);
    const refused = proxies.some((proxy) => Object.values(proxy.types).some((type) => type.nack));
    return refused || down || errors.length > 0 || workloads.length > 0 ? EXIT.failure : EXIT.ok;
  },
};

/** What the platform says of pods and workloads that need somebody to look; nothing where another process runs the pods. */
async function platformTroubles(
  stateDir: string,
): Promise<{ workloads: string[]; pods: string[]; notes: string[] }> {
  if (!existsSync(join(stateDir, "platform.sock"))) return { workloads: [], pods: [], notes: [] };
  const { workloads, pods } = await platformStatus(stateDir);
  return {
    workloads: workloads.map(({ trouble }) => trouble).filter((trouble) => trouble !== ""),
    pods: pods
      .filter(({ ready, phase }) => !ready && phase !== "Succeeded")
      .map((pod) => `${nameOf(pod)}: ${pod.message}`),
    notes: pods.flatMap((pod) => pod.notes.map((note) => `${nameOf(pod)}: ${note}`)),
  };
}

function find(types: Proxy["types"], suffix: string): TypeStatus | undefined {
  return Object.entries(types).find(([url]) => url.endsWith(`.${suffix}`))?.[1];
}

/** One line per type that a proxy refused or has not acknowledged. */
function troublesOf(proxy: Proxy): string[] {
  return Object.entries(proxy.types).flatMap(([url, type]) => {
    const what = `${podOf(proxy)}: ${url.split(".").at(-1)}`;
    if (type.nack) {
      const places = (type.policies ?? []).map(({ object, file, line }) => `${object} at ${file}:${line}`);
      const from = places.length === 0 ? "" : `; it was made of ${places.join(", or ")}`;
      return [`${what} refused, it keeps version ${type.acked || "none"}: ${type.nack}${from}`];
    }
    if (type.acked !== type.sent) return [`${what} sent ${type.sent}, acknowledged ${type.acked || "none"}`];
    return [];
  });
}

/** `sidecar~10.0.0.1~reviews-v1-0.default~default.svc.cluster.local` -> `reviews-v1-0.default`. */
function podOf({ nodeId }: Proxy): string {
  return nodeId.split("~")[2] ?? nodeId;
}

function nameOf({ name, namespace }: { name: string; namespace: string }): string {
  return `${name}.${namespace}`;
}
