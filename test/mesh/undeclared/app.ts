/** HTTP on 7000, bytes that come back on 7001, and a server that speaks first on 7002 and 3306. */

import { createServer } from "node:net";
import { startEcho } from "../../harness/echo.ts";

const { HOSTNAME = "echo", POD_IP = "127.0.0.1" } = process.env;
await startEcho(HOSTNAME, { address: POD_IP, httpPort: 7000, tcpPort: 7001 });
for (const port of [7002, 3306])
  createServer((socket) => {
    socket.on("error", () => {});
    socket.write("220 at your service\r\n");
    socket.pipe(socket);
  }).listen(port, POD_IP);
process.on("SIGTERM", () => process.exit(0));
