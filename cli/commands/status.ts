import { AdminClient } from "../admin-client.ts";
import type { Command } from "../command.ts";
import { EXIT } from "../errors.ts";

interface TypeStatus {
  readonly sent: string;
  readonly acked: string;
  readonly nack?: string | null;
}
interface Status {
  readonly proxies: readonly {
    readonly nodeId: string;
    readonly connected: boolean;
    readonly types: Readonly<Record<string, TypeStatus>>;
  }[];
}

/** istioctl's words: SYNCED when the last version sent was acknowledged, STALE before, NACK when refused. */
function synced(type: TypeStatus | undefined): string {
  if (type === undefined) return "NOT SENT";
  if (type.nack) return "NACK";
  return type.acked === type.sent ? "SYNCED" : "STALE";
}

const COLUMNS = [
  ["CDS", "Cluster"],
  ["LDS", "Listener"],
  ["EDS", "ClusterLoadAssignment"],
  ["RDS", "RouteConfiguration"],
] as const;

export const status: Command = {
  name: "status",
  summary: "Every proxy: is it connected, which configuration has it acknowledged, what did it refuse",
  args: [],
  options: [],
  examples: ["weft status", "weft status -o json"],
  async run({ out, stateDir }) {
    const answer = await AdminClient.controlPlane(stateDir).get<Status>("/status");
    out.result(answer, () => [
      ["PROXY", "CONNECTED", ...COLUMNS.map(([head]) => head)],
      ...answer.proxies.map((proxy) => [
        podOf(proxy.nodeId),
        proxy.connected ? "yes" : "no",
        ...COLUMNS.map(([, suffix]) => synced(find(proxy.types, suffix))),
      ]),
    ]);
    const nacked = answer.proxies.flatMap((proxy) =>
      Object.entries(proxy.types)
        .filter(([, type]) => type.nack)
        .map(([url, type]) => `${podOf(proxy.nodeId)} refused ${url.split(".").at(-1)}: ${type.nack}`),
    );
    return nacked.length === 0 ? EXIT.ok : EXIT.failure;
  },
};

function find(types: Readonly<Record<string, TypeStatus>>, suffix: string): TypeStatus | undefined {
  return Object.entries(types).find(([url]) => url.endsWith(`.${suffix}`))?.[1];
}

/** `sidecar~10.0.0.1~reviews-v1-0.default~default.svc.cluster.local` -> `reviews-v1-0.default`. */
function podOf(nodeId: string): string {
  return nodeId.split("~")[2] ?? nodeId;
}
