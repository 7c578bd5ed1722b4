/**
 * Connections between the host and the mesh. A Unix socket crosses network namespaces: one side listens, the other dials
 * it, says in one line where to, reads one line that says how it went, then bytes pass both ways.
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import { splice } from "#lib/splice.ts";

const LONGEST_LINE = 128;
const NO_SOURCE = "-";
/** Node's 511 is soon full when many connect at once, and of a Unix socket the rest is refused; the kernel cuts it to its own limit. */
export const BACKLOG = 4096;

export interface Route {
  readonly host: string;
  readonly port: number;
  /** The address that the connection comes from; null: as the system has it. */
  readonly source: string | null;
}

/** On the side where the targets are. */
export function serveRelay(socketPath: string, adapt = (route: Route): Route => route): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    firstLine(socket, (line) => {
      const [host, port, from] = line?.split(" ") ?? [];
      if (host === undefined || from === undefined) return void socket.destroy();
      const route = adapt({ host, port: Number(port), source: from === NO_SOURCE ? null : from });
      const { source, ...to } = route;
      const target = connect({
        ...to,
        ...(source === null ? {} : { localAddress: source }),
        allowHalfOpen: true,
      });
      const refused = (error: Error): void => void socket.end(`${error.message}\n`);
      target.once("error", refused);
      target.once("connect", () => {
        target.off("error", refused);
        socket.write("\n");
        splice(socket, target);
      });
    });
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ path: socketPath, backlog: BACKLOG }, () => resolve(server));
  });
}

/** From the other side; the socket comes paused. The promise fails with the reason that the far end gave. */
export function dialRelay(socketPath: string, route: Route): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path: socketPath, allowHalfOpen: true });
    socket.once("error", reject);
    socket.write(`${route.host} ${route.port} ${route.source ?? NO_SOURCE}\n`);
    firstLine(socket, (line) => {
      if (line === "") {
        socket.off("error", reject);
        resolve(socket);
        return;
      }
      socket.destroy();
      reject(new Error(line ?? `connect to ${route.host}:${route.port}: the mesh's network does not answer`));
    });
  });
}

/** The line without its end, null when the peer sent none; what follows stays in the socket. */
function firstLine(socket: Socket, done: (line: string | null) => void): void {
  let held = Buffer.alloc(0);
  const onData = (piece: Buffer): void => {
    held = Buffer.concat([held, piece]);
    const end = held.indexOf(10);
    if (end < 0 && held.length < LONGEST_LINE) return;
    stop();
    socket.pause();
    if (held.length > end + 1) socket.unshift(held.subarray(end + 1));
    done(end < 0 ? null : held.toString("utf8", 0, end));
  };
  const onEnd = (): void => {
    stop();
    done(null);
  };
  const stop = (): void => {
    socket.off("data", onData).off("end", onEnd).off("close", onEnd);
  };
  socket.on("data", onData).once("end", onEnd).once("close", onEnd);
}
