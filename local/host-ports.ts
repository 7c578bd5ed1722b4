import { createServer, type Server, type Socket } from "node:net";
import { splice } from "#lib/splice.ts";
import { BACKLOG } from "./network/relay.ts";
import { list, PlatformError, type PlatformObject, place, record, stringMap } from "./object.ts";
import type { Pod } from "./pod.ts";

/** How the host reaches an address of a pod. */
export type Dial = (host: string, port: number) => Promise<Socket>;

/** LoadBalancer ports on 127.0.0.1: what a cloud's load balancer is for a cluster. */
export class HostPorts {
  readonly #servers = new Map<
    number,
    { server: Server; service: string; port: number; targets: () => { host: string; port: number }[] }
  >();
  readonly #sockets = new Set<Socket>();
  readonly #dial: Dial;

  constructor(dial: Dial) {
    this.#dial = dial;
  }

  get open(): { port: number; service: string; servicePort: number }[] {
    return [...this.#servers].map(([servicePort, { service, port }]) => ({ port, service, servicePort }));
  }

  /** Opens and closes listeners until they match; a port in use is an error and leaves the others as they were. */
  async update(objects: readonly PlatformObject[], pods: () => readonly Pod[]): Promise<void> {
    const wanted = new Map<
      number,
      { object: PlatformObject; target: unknown; selector: Readonly<Record<string, string>> }
    >();
    for (const object of objects) {
      const spec = record(object.spec);
      if (object.kind !== "Service" || spec["type"] !== "LoadBalancer") continue;
      for (const port of list(spec["ports"])) {
        const number = Number(port["port"]);
        const other = wanted.get(number);
        if (other !== undefined)
          throw new PlatformError(
            `${place(object)}: port ${number} is also opened by ${place(other.object)}: give one of them another port`,
          );
        wanted.set(number, {
          object,
          target: port["targetPort"] ?? number,
          selector: stringMap(spec["selector"]),
        });
      }
    }
    for (const [port, { object, target, selector }] of wanted) {
      const ns = object.metadata.namespace ?? "default";
      const targets = (): { host: string; port: number }[] =>
        pods()
          .filter(
            (p) =>
              p.ready &&
              p.template.namespace === ns &&
              Object.entries(selector).every(([k, v]) => p.template.labels[k] === v),
          )
          .map((p) => ({
            host: p.frontIp,
            port: p.template.ports.find((x) => x.name === target)?.containerPort ?? Number(target),
          }));
      const entry = this.#servers.get(port);
      if (entry !== undefined) entry.targets = targets;
      else await this.#listen(port, object, targets, new Set(wanted.keys()));
    }
    for (const [port, { server }] of this.#servers) {
      if (wanted.has(port)) continue;
      server.close();
      this.#servers.delete(port);
    }
  }

  async #listen(
    port: number,
    object: PlatformObject,
    targets: () => { host: string; port: number }[],
    taken: ReadonlySet<number>,
  ): Promise<void> {
    let turn = 0;
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      const ready = this.#servers.get(port)?.targets() ?? [];
      const target = ready[turn++ % Math.max(1, ready.length)];
      this.#track(socket);
      if (target === undefined) return void socket.resetAndDestroy();
      this.#dial(target.host, target.port).then(
        (upstream) => {
          this.#track(upstream);
          if (socket.destroyed) upstream.destroy();
          else splice(socket, upstream);
        },
        () => socket.resetAndDestroy(),
      );
    });
    const opened = await tryPorts(server, hostPortsFor(port, taken));
    if (typeof opened === "string")
      throw new PlatformError(
        `${place(object)}: port 127.0.0.1:${port} ${opened}; stop what uses it or change the Service's port`,
      );
    this.#servers.set(port, {
      server,
      service: `${object.metadata.namespace ?? "default"}/${object.metadata.name}`,
      port: opened,
      targets,
    });
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#sockets.delete(socket));
  }

  close(): void {
    for (const { server } of this.#servers.values()) server.close();
    for (const socket of this.#sockets) socket.destroy();
    this.#servers.clear();
  }
}

/** Not everybody may open a port below 1024 (ip(7)): then 80 is found at 8080, 443 at 8443. */
function hostPortsFor(port: number, taken: ReadonlySet<number>): number[] {
  const instead = port + 8000;
  return port < 1024 && !taken.has(instead) ? [port, instead] : [port];
}

/** The port that it could open, or why none: the second is only for who may not open the first. */
async function tryPorts(server: Server, ports: readonly number[]): Promise<number | string> {
  let why = "";
  for (const port of ports) {
    const error = await listenOn(server, port);
    if (error === undefined) return port;
    const said = error.code === "EADDRINUSE" ? "is in use" : `cannot be opened (${error.message})`;
    why = why === "" ? said : `${why}, and ${port} ${said}`;
    if (error.code !== "EACCES") break;
  }
  return why;
}

function listenOn(server: Server, port: number): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    server.once("error", resolve);
    server.listen({ port, host: "127.0.0.1", backlog: BACKLOG }, () => {
      server.off("error", resolve);
      resolve(undefined);
    });
  });
}
