import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "../command.ts";
import { EXIT, UserError } from "../errors.ts";
import { LogReader } from "../log-file.ts";
import { type PodRow, platformPods, podLogs } from "../pods.ts";

const MESH_LOGS: Readonly<Record<string, string>> = {
  "control-plane": "control-plane.log",
  supervisor: "supervisor.log",
};

export const logs: Command = {
  name: "logs",
  summary: "What a pod's application or proxy wrote, or the control plane",
  args: [
    {
      name: "<pod>",
      help: "a pod, a workload (deploy/NAME, too), or control-plane, supervisor",
      values: "pod",
    },
  ],
  options: [
    { flags: "-c, --container <name>", help: "istio-proxy for the proxy (default: the application)" },
    { flags: "-n, --namespace <name>", help: "its namespace", values: "namespace" },
    { flags: "-f, --follow", help: "go on until Ctrl-C" },
    { flags: "--tail <lines>", help: "only the last lines" },
  ],
  examples: [
    "weft logs productpage-v1-0",
    "weft logs reviews-v1 -c istio-proxy --tail 20 -f",
    "weft logs deploy/reviews-v1 --tail 5",
    "weft logs control-plane",
  ],
  async run({ args, options, out, stateDir }) {
    const name = String(args[0]).replace(/^[a-z.]+\//i, "");
    const file = find(stateDir, name, options["namespace"], options["container"]);
    const lines = options["tail"] === undefined ? null : Number(options["tail"]);
    if (lines !== null && !(Number.isInteger(lines) && lines >= 0))
      throw new UserError(`--tail: ${JSON.stringify(options["tail"])} is no number of lines`, EXIT.usage);
    const reader = new LogReader(file, lines, (text) => out.line(text.replace(/\n$/, "")));
    try {
      reader.read(options["follow"] !== true);
      if (options["follow"] === true) await untilSignal((signal) => reader.follow(signal));
    } finally {
      reader.close();
    }
    return EXIT.ok;
  },
};

async function untilSignal(run: (stop: AbortSignal) => Promise<void>): Promise<void> {
  const controller = new AbortController();
  const stop = (): void => controller.abort();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, stop);
  await run(controller.signal);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, stop);
}

function find(stateDir: string, name: string, namespace: unknown, container: unknown): string {
  const own = MESH_LOGS[name];
  if (own !== undefined) {
    const file = join(stateDir, own);
    if (existsSync(file)) return file;
    throw new UserError(`there is no log of the ${name} (${file})`);
  }
  const pods = platformPods(stateDir).filter(
    (p) => typeof namespace !== "string" || p.namespace === namespace,
  );
  const pod = podCalled(pods, name);
  // Of a pod that is gone only the name is left.
  const files = podLogs(stateDir, pod?.name ?? name, pod?.namespace ?? namespace);
  if (files.size === 0) {
    const known = pods.map((p) => p.name).join(", ") || "none";
    const where = typeof namespace === "string" ? ` of namespace ${namespace}` : "";
    throw new UserError(`no pod or workload "${name}"${where} has logs; pods: ${known}`);
  }
  const [first] = files.values();
  const file = typeof container === "string" ? files.get(container) : first;
  if (file === undefined)
    throw new UserError(`${name} has no container "${String(container)}": ${[...files.keys()].join(", ")}`);
  return file;
}

/** The pod NAME or NAME.NAMESPACE, else one of that workload: a ready one rather than one that ends. */
function podCalled(pods: readonly PodRow[], wanted: string): PodRow | undefined {
  const is = (p: PodRow, name: string): boolean => wanted === name || wanted === `${name}.${p.namespace}`;
  const named = pods.filter((p) => is(p, p.name));
  const found = named.length > 0 ? named : pods.filter((p) => is(p, p.workload));
  const namespaces = [...new Set(found.map((p) => p.namespace))];
  if (namespaces.length > 1)
    throw new UserError(
      `${wanted} is in several namespaces: say which with -n ${namespaces.join(" or -n ")}`,
    );
  return found.toSorted((a, b) => Number(b.ready) - Number(a.ready))[0];
}
