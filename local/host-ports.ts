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
    { server: Server; service: string; targets: () => { host: string; port: number }[] }
  >();
  readonly #sockets = new Set<Socket>();
  readonly #dial: Dial;

  constructor(dial: Dial) {
    this.#dial = dial;
  }

  get open(): { port: number; service: string }[] {
    return [...this.#servers].map(([port, { service }]) => ({ port, service }));
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
      else await this.#listen(port, object, targets);
    }
    for (const [port, { server }] of this.#servers) {
      if (wanted.has(port)) continue;
      server.close();
      this.#servers.delete(port);
    }
  }

  #listen(
    port: number,
    object: PlatformObject,
    targets: () => { host: string; port: number }[],
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
    return new Promise((resolve, reject) => {
      server.once("error", (error: NodeJS.ErrnoException) => {
        const why = error.code === "EADDRINUSE" ? "is in use" : `cannot be opened (${error.message})`;
        reject(
          new PlatformError(
            `${place(object)}: port 127.0.0.1:${port} ${why}; stop what uses it or change the Service's port`,
          ),
        );
      });
      server.listen({ port, host: "127.0.0.1", backlog: BACKLOG }, () => {
        this.#servers.set(port, {
          server,
          service: `${object.metadata.namespace ?? "default"}/${object.metadata.name}`,
          targets,
        });
        resolve();
      });
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
