import { existsSync, readFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { splice } from "#lib/splice.ts";
import type { PodStatus } from "#local/contract.ts";
import { dialPod } from "#local/index.ts";
import type { Command } from "../command.ts";
import { EXIT, UserError } from "../errors.ts";
import type { Manifest } from "../listing.ts";
import { type Target, targetOf } from "../target.ts";

export const portForward: Command = {
  name: "port-forward",
  summary: "Ports of a pod on 127.0.0.1, past its proxy, until Ctrl-C",
  args: [
    { name: "<pod>", help: "a pod, a workload, deploy/NAME or svc/NAME", values: "pod" },
    {
      name: "<port...>",
      help: "LOCAL:REMOTE, or PORT for both; :REMOTE takes a free one; REMOTE may be a port's name",
    },
  ],
  options: [{ flags: "-n, --namespace <name>", help: "its namespace", values: "namespace" }],
  examples: [
    "weft port-forward reviews-v1-0 9080",
    "weft port-forward svc/details 8081:9080",
    "weft port-forward deploy/productpage-v1 :9080",
  ],
  notes:
    "Of a Service REMOTE is its own port, which leads to the pod's as for everybody. Each connection takes a pod that is\nready then: what is replaced is followed.",
  async run({ args, options, out, stateDir }) {
    const name = String(args[0]);
    const namespace = typeof options["namespace"] === "string" ? options["namespace"] : null;
    const target = (): Promise<Target> => targetOf(stateDir, name, namespace);
    const first = await target();
    const wishes = (args[1] as readonly string[]).map(readPorts);
    const servers: Server[] = [];
    const sockets = new Set<Socket>();
    try {
      for (const { local, remote } of wishes) {
        podPort(stateDir, first, remote); // a wrong one is told now, not by each connection
        const server = createServer({ allowHalfOpen: true }, (socket) => {
          sockets.add(socket);
          socket.on("error", () => socket.destroy()).on("close", () => sockets.delete(socket));
          connect(stateDir, target, remote).then(
            (upstream) => {
              upstream.on("error", () => upstream.destroy());
              if (socket.destroyed) upstream.destroy();
              else splice(socket, upstream);
            },
            (error: Error) => {
              out.warn(`a connection to ${name} failed: ${error.message}`);
              socket.resetAndDestroy();
            },
          );
        });
        servers.push(server);
        await listen(server, local);
        const { port } = server.address() as AddressInfo;
        out.line(
          `Forwarding from 127.0.0.1:${port} -> ${remote} of ${first.service ? name : first.pods[0].name}`,
        );
      }
      await new Promise<void>((stop) => {
        for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop());
      });
    } finally {
      for (const server of servers) server.close();
      for (const socket of sockets) socket.destroy();
    }
    return EXIT.ok;
  },
};

function readPorts(text: string): { local: number; remote: string } {
  const [first = "", second, ...more] = text.split(":");
  const remote = second ?? first;
  const local = second === undefined || first !== "" ? Number(first) : 0;
  const valid = (port: number): boolean => Number.isInteger(port) && port >= 0 && port <= 65535;
  if (more.length > 0 || remote === "" || !valid(local) || (/^\d+$/.test(remote) && !valid(Number(remote))))
    throw new UserError(
      `${text}: write LOCAL:REMOTE with ports, such as 8081:9080, 9080 or :9080`,
      EXIT.usage,
    );
  return { local, remote };
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((done, fail) => {
    server.once("error", ({ code, message }: NodeJS.ErrnoException) => {
      const why =
        code === "EADDRINUSE"
          ? "is in use"
          : code === "EACCES"
            ? "needs root"
            : `cannot be opened (${message})`;
      fail(
        new UserError(`port 127.0.0.1:${port} ${why}: take another with LOCAL:REMOTE, or :REMOTE for any`),
      );
    });
    server.listen(port, "127.0.0.1", done);
  });
}

async function connect(stateDir: string, target: () => Promise<Target>, remote: string): Promise<Socket> {
  const now = await target();
  const [pod] = now.pods;
  const port = podPort(stateDir, now, remote);
  return dialPod(join(stateDir, "network.sock"), appAddress(stateDir, pod), port);
}

interface Port {
  readonly name?: string;
  readonly port?: number;
  readonly containerPort?: number;
  readonly targetPort?: number | string;
}

/** The number that the pod listens on. */
function podPort(stateDir: string, { pods, service }: Target, remote: string): number {
  const container = (wanted: string | number): number => {
    const number = Number(wanted);
    if (Number.isInteger(number)) return number;
    const ports = podObject(stateDir, pods[0])?.spec?.["containers"] as { ports?: Port[] }[] | undefined;
    const found = ports?.flatMap((c) => c.ports ?? []).find(({ name }) => name === wanted)?.containerPort;
    if (found === undefined) throw new UserError(`${pods[0].name} has no port named "${wanted}"`);
    return found;
  };
  if (service === null) return container(remote);
  const ports = (service.spec?.["ports"] ?? []) as readonly Port[];
  const found = ports.find(({ name, port }) => name === remote || String(port) === remote);
  if (found === undefined)
    throw new UserError(
      `service ${service.metadata?.name} has no port ${remote}: ${ports.map(({ port }) => port).join(", ")}`,
    );
  return container(found.targetPort ?? found.port ?? 0);
}

/** Where the app itself listens: in explicit mode an address of its own. */
function appAddress(stateDir: string, pod: PodStatus): string {
  return podObject(stateDir, pod)?.metadata?.annotations?.["weft.dev/app-address"] ?? pod.podIp;
}

function podObject(stateDir: string, { name, namespace }: PodStatus): Manifest | undefined {
  const file = join(stateDir, "platform.json");
  if (!existsSync(file)) return undefined;
  const { items } = JSON.parse(readFileSync(file, "utf8")) as { items: readonly Manifest[] };
  return items.find(
    ({ kind, metadata }) =>
      kind === "Pod" && metadata?.name === name && (metadata.namespace ?? "default") === namespace,
  );
}
