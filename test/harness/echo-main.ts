/** The echo service as the app of a pod: HTTP on 8080, TCP on 9000, at the pod's own address. */
import { startEcho } from "./echo.ts";

const { HOSTNAME = "echo", POD_IP = "127.0.0.1" } = process.env;
await startEcho(HOSTNAME, { address: POD_IP, httpPort: 8080, tcpPort: 9000 });
process.on("SIGTERM", () => process.exit(0));
