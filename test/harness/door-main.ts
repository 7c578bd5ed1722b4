/** Runs inside of a pod's namespaces: connections that come in on the Unix socket go on from there. Ends with its input. */
import { serveRelay } from "#local/network/relay.ts";

const path = process.argv[2];
if (path === undefined) throw new Error("usage: door-main.ts SOCKET");
await serveRelay(path);
console.log("open");
process.stdin.resume().once("end", () => process.exit(0));
