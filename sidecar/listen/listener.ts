import { createServer, type Server, type Socket } from "node:net";
import type { Logger } from "#lib/log.ts";
import { readAccepted } from "../http1/read-buffer.ts";

/** One bound address. The name is the xDS listener's; the address is what must not change under a live bind. */
export interface Bind {
  readonly name: string;
  readonly host: string;
  readonly port: number;
}

export type OnConnection = (socket: Socket, name: string) => void;

interface Bound {
  readonly server: Server;
  readonly bind: Bind;
  names: string;
}

/** Binds, keeps and unbinds listening sockets as snapshots come. Connections outlive the socket that took them. */
export class Listeners {
  readonly #bound = new Map<string, Bound>();
  readonly #onConnection: OnConnection;
  readonly #log: Logger;
  readonly connections = new Set<Socket>();
  /** Names of listeners whose address could not be bound at the last try. */
  readonly unbound = new Set<string>();
  acceptErrors = 0;
  /** The last connection has closed. */
  #emptied: () => void = noop;

  constructor(onConnection: OnConnection, log: Logger) {
    this.#onConnection = onConnection;
    this.#log = log;
  }

  /**
   * Makes the bound addresses equal to `wanted`; an address in both is not touched, only renamed.
   * Resolves with one message per address that could not be bound; the others serve.
   */
  async apply(wanted: readonly Bind[]): Promise<string[]> {
    const next = new Map(wanted.map((bind) => [`${bind.host}|${bind.port}`, bind]));
    const closing: Promise<void>[] = [];
    for (const [key, bound] of this.#bound) {
      const bind = next.get(key);
      if (bind !== undefined) {
        bound.names = bind.name;
        continue;
      }
      this.#bound.delete(key);
      closing.push(stop(bound.server));
      this.#log.info("listener unbound", { name: bound.names, address: key.replace("|", ":") });
    }
    // close() frees the port at once but reports only after the last connection; do not wait for those.
    void Promise.all(closing);
    const problems: string[] = [];
    for (const name of this.unbound)
      if (!wanted.some((bind) => bind.name === name)) this.unbound.delete(name);
    await Promise.all(
      [...next].map(async ([key, bind]) => {
        if (this.#bound.has(key)) return;
        const problem = await this.#bind(key, bind);
        if (problem === null) this.unbound.delete(bind.name);
        else {
          this.unbound.add(bind.name);
          problems.push(problem);
        }
      }),
    );
    return problems;
  }

  #bind(key: string, bind: Bind): Promise<string | null> {
    return new Promise((resolve) => {
      const server = createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true });
      const bound: Bound = { server, bind, names: bind.name };
      server.on("connection", (accepted) => {
        const socket = readAccepted(accepted);
        this.connections.add(socket);
        // An unhandled reset on a socket that nobody owns yet would end the process.
        socket.on("error", noop);
        socket.on("close", () => {
          this.connections.delete(socket);
          if (this.connections.size === 0) this.#emptied();
        });
        this.#onConnection(socket, bound.names);
      });
      const failed = (error: NodeJS.ErrnoException): void => {
        this.#bound.delete(key);
        resolve(bindProblem(bind, error));
      };
      server.once("error", failed);
      server.listen({ host: bind.host, port: bind.port, backlog: 4096 }, () => {
        server.off("error", failed);
        // EMFILE and its kin come here: libuv keeps accepting later, the listener must survive.
        server.on("error", (error) => {
          this.acceptErrors++;
          this.#log.warn("accept failed", { name: bound.names, error });
        });
        this.#log.info("listener bound", { name: bind.name, address: `${bind.host}:${bind.port}` });
        resolve(null);
      });
      this.#bound.set(key, bound);
    });
  }

  /** The real addresses, for the admin page and for port 0 in tests. */
  addresses(): { name: string; host: string; port: number }[] {
    return [...this.#bound.values()].map(({ server, bind, names }) => {
      const at = server.address();
      return {
        name: names,
        host: bind.host,
        port: typeof at === "object" && at !== null ? at.port : bind.port,
      };
    });
  }

  /** Stops accepting; established connections go on. */
  stopAccepting(): void {
    for (const { server } of this.#bound.values()) server.close();
    this.#bound.clear();
  }

  /** Resolves when no connection is open, or after `deadlineMs`. */
  async whenEmpty(deadlineMs: number): Promise<void> {
    if (this.connections.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, deadlineMs);
      this.#emptied = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  destroyConnections(): void {
    for (const socket of this.connections) socket.destroy();
  }
}

function noop(): void {}

function stop(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

function bindProblem(bind: Bind, error: NodeJS.ErrnoException): string {
  const where = `listener ${bind.name}: cannot listen on ${bind.host}:${bind.port}`;
  if (error.code === "EADDRINUSE")
    return `${where}: another process has it; stop that process or change the port`;
  if (error.code === "EACCES") return `${where}: no permission (ports below 1024 need CAP_NET_BIND_SERVICE)`;
  if (error.code === "EADDRNOTAVAIL") return `${where}: this machine does not have that address`;
  return `${where}: ${error.message}`;
}
