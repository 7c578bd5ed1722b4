import type { WorkloadsAnswer } from "#control-plane/admin/contract.ts";
import { AdminClient } from "../admin-client.ts";
import type { Command } from "../command.ts";
import { EXIT, UserError } from "../errors.ts";
import { findPod } from "../proxies.ts";
import { certificateRows, clusterRows, endpointRows, listenerRows, routeRows } from "../proxy-config.ts";

/** What can be asked for -> the proxy's admin page, and its table. */
const PARTS = {
  routes: { page: "/config_dump", rows: routeRows },
  clusters: { page: "/config_dump", rows: clusterRows },
  endpoints: { page: "/clusters?format=json", rows: endpointRows },
  listeners: { page: "/config_dump", rows: listenerRows },
  certs: { page: "/certs", rows: (answer: unknown) => certificateRows(answer, Date.now()) },
} as const;

export const config: Command = {
  name: "config",
  summary: "What one proxy runs now, asked of the proxy itself",
  args: [
    { name: "<proxy>", help: "a pod, workload, app, or `gateway`", values: "workload" },
    { name: "<part>", help: Object.keys(PARTS).join(", "), values: Object.keys(PARTS) },
  ],
  options: [],
  examples: [
    "weft config productpage routes",
    "weft config gateway listeners",
    "weft config reviews-v2 certs -o json",
  ],
  async run({ args, out, stateDir }) {
    const part = PARTS[args[1] as keyof typeof PARTS];
    if (part === undefined)
      throw new UserError(`${String(args[1])}: one of ${Object.keys(PARTS).join(", ")}`, EXIT.usage);
    const mesh = await AdminClient.controlPlane(stateDir).get<WorkloadsAnswer>("/workloads");
    const { pod } = findPod(mesh.workloads, String(args[0]));
    const answer = await AdminClient.proxy(stateDir, pod).get<unknown>(part.page);
    out.result(answer, () => part.rows(answer));
    return EXIT.ok;
  },
};
