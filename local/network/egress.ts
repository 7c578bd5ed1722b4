/**
 * What pods dial outside of the mesh. Without root no namespace reaches the host's network, so bytes are carried: the
 * holder takes the redirected connection and asks the supervisor, which dials as any program of the host.
 */
import { createServer, type Server } from "node:net";
import { originalDestination } from "#lib/original-dst.ts";
import { splice } from "#lib/splice.ts";
import { BACKLOG, dialRelay, serveRelay } from "./relay.ts";
import { NODE_IP } from "./rules.ts";

/** In the mesh's namespaces; resolves with the port to which connections are redirected. */
export async function takeEgress(socketPath: string): Promise<number> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    const { address, port } = originalDestination(socket);
    if (port === ownPort) return void socket.resetAndDestroy();
    dialRelay(socketPath, { host: address, port, source: null }).then(
      (target) => splice(socket, target),
      // It was accepted for them: a reset is the nearest to a refusal.
      () => socket.resetAndDestroy(),
    );
  });
  const ownPort = await new Promise<number>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port: 0, host: "0.0.0.0", backlog: BACKLOG }, () =>
      resolve((server.address() as { port: number }).port),
    );
  });
  return ownPort;
}

/** On the host. The mesh's own address stands for the host itself: what listens on its loopback is reached by it. */
export function serveEgress(socketPath: string): Promise<Server> {
  return serveRelay(socketPath, (route) =>
    route.host === NODE_IP ? { ...route, host: "127.0.0.1" } : route,
  );
}
