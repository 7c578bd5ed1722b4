/** In transparent mode the test process is not where a pod's app is; a door gives it loopback addresses that lead there. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { splice } from "#lib/splice.ts";
import { dialRelay } from "#local/network/relay.ts";

export class Door {
  readonly #socket: string;
  readonly #child: ChildProcess;
  readonly #servers: Server[] = [];
  /** Address in the mesh -> loopback address that leads to it. */
  readonly #addresses = new Map<string, string>();

  private constructor(socket: string, child: ChildProcess) {
    this.#socket = socket;
    this.#child = child;
  }

  /** `enter`: the command line that starts a program in the pod's namespaces. */
  static async open(enter: readonly string[], socket: string): Promise<Door> {
    const [file = "", ...args] = [
      ...enter,
      process.execPath,
      join(import.meta.dirname, "door-main.ts"),
      socket,
    ];
    const child = spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] });
    await once(child.stdout, "data");
    return new Door(socket, child);
  }

  /** A loopback address whose `ports` are those of `target` as the pod reaches it. */
  async to(target: string, ports: readonly number[]): Promise<string> {
    const known = this.#addresses.get(target);
    if (known !== undefined) return known;
    for (let n = 2; n < 65_000; n++) {
      const address = `127.88.${n >> 8}.${n & 255}`;
      const servers = await this.#listen(address, target, ports);
      if (servers === null) continue; // another mesh, or another door
      this.#servers.push(...servers);
      this.#addresses.set(target, address);
      return address;
    }
    throw new Error("no free loopback address");
  }

  async #listen(address: string, target: string, ports: readonly number[]): Promise<Server[] | null> {
    const open: Server[] = [];
    for (const port of ports) {
      const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
        socket.on("error", () => {});
        dialRelay(this.#socket, { host: target, port, source: null }).then(
          (inside) => splice(socket, inside),
          () => socket.resetAndDestroy(),
        );
      });
      try {
        await once(server.listen(port, address), "listening");
        open.push(server);
      } catch {
        for (const one of open) one.close();
        return null;
      }
    }
    return open;
  }

  close(): void {
    for (const server of this.#servers) server.close();
    this.#child.stdin?.end();
  }
}
