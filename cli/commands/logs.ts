import { closeSync, existsSync, openSync, readSync, statSync, watch } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Command } from "../command.ts";
import { EXIT, UserError } from "../errors.ts";
import { platformPods, podLogs } from "../pods.ts";

const MESH_LOGS: Readonly<Record<string, string>> = {
  "control-plane": "control-plane.log",
  supervisor: "supervisor.log",
};

export const logs: Command = {
  name: "logs",
  summary: "What a pod's application or proxy wrote, or the control plane",
  args: [{ name: "<pod>", help: "a pod, a workload, or control-plane, supervisor", values: "pod" }],
  options: [
    { flags: "-c, --container <name>", help: "istio-proxy for the proxy (default: the application)" },
    { flags: "-f, --follow", help: "go on until Ctrl-C" },
    { flags: "--tail <lines>", help: "only the last lines" },
  ],
  examples: [
    "weft logs productpage-v1-0",
    "weft logs reviews-v1 -c istio-proxy --tail 20 -f",
    "weft logs control-plane",
  ],
  async run({ args, options, out, stateDir }) {
    const file = find(stateDir, String(args[0]), options["container"]);
    const lines = options["tail"] === undefined ? null : Number(options["tail"]);
    if (lines !== null && !(Number.isInteger(lines) && lines >= 0))
      throw new UserError(`--tail: ${JSON.stringify(options["tail"])} is no number of lines`, EXIT.usage);
    const text = readFrom(file, 0).toString("utf8");
    const shown = lines === null ? text : lastLines(text, lines);
    if (shown !== "") out.line(shown.replace(/\n$/, ""));
    if (options["follow"] === true) await follow(file, (more) => out.line(more.replace(/\n$/, "")));
    return EXIT.ok;
  },
};

function find(stateDir: string, name: string, container: unknown): string {
  const own = MESH_LOGS[name];
  if (own !== undefined) {
    const file = join(stateDir, own);
    if (existsSync(file)) return file;
    throw new UserError(`there is no log of the ${name} (${file})`);
  }
  const pods = platformPods(stateDir);
  const pod = pods.find((p) => p.name === name) ?? pods.find((p) => p.workload === name);
  const files = podLogs(stateDir, pod?.name ?? name);
  if (files.size === 0) {
    const known = pods.map((p) => p.name).join(", ") || "none";
    throw new UserError(`no pod or workload "${name}" has logs; pods: ${known}`);
  }
  const [first] = files.values();
  const file = typeof container === "string" ? files.get(container) : first;
  if (file === undefined)
    throw new UserError(`${name} has no container "${String(container)}": ${[...files.keys()].join(", ")}`);
  return file;
}

function lastLines(text: string, count: number): string {
  if (count === 0) return "";
  return text.replace(/\n$/, "").split("\n").slice(-count).join("\n");
}

function readFrom(file: string, offset: number): Buffer {
  const handle = openSync(file, "r");
  try {
    const bytes = Buffer.alloc(Math.max(0, statSync(file).size - offset));
    return bytes.subarray(0, readSync(handle, bytes, 0, bytes.length, offset));
  } finally {
    closeSync(handle);
  }
}

/** Until SIGINT or SIGTERM. Whole lines only; a file that got shorter is read anew. */
function follow(file: string, write: (text: string) => void): Promise<void> {
  let offset = statSync(file).size;
  const { promise, resolve } = Promise.withResolvers<void>();
  const look = (): void => {
    const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
    if (size < offset) offset = 0;
    const bytes = size > offset ? readFrom(file, offset) : Buffer.alloc(0);
    const end = bytes.lastIndexOf(10) + 1;
    if (end === 0) return;
    offset += end;
    write(bytes.subarray(0, end).toString("utf8"));
  };
  // The folder: a log that is begun anew is another file.
  const watcher = watch(dirname(file), (_event, name) => {
    if (name === null || name === basename(file)) look();
  });
  const stop = (): void => {
    watcher.close();
    resolve();
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, stop);
  return promise;
}
