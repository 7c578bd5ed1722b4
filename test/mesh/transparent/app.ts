/** Says who called. 8080 is behind Services, 8081 behind none; 9000 gives every byte back. Listens on $LISTEN. */
import { createServer } from "node:http";
import { createServer as createTcp } from "node:net";

const address = process.env["LISTEN"] ?? "0.0.0.0";
for (const port of [8080, 8081]) {
  createServer((request, response) => {
    const forwarded = String(request.headers["x-forwarded-client-cert"] ?? "");
    const identity = /URI=([^;,]+)/.exec(forwarded)?.[1] ?? null;
    const answer = { pod: process.env["HOSTNAME"], from: request.socket.remoteAddress, identity };
    response.end(JSON.stringify(answer));
  }).listen(port, address);
}
createTcp({ allowHalfOpen: true }, (socket) => {
  socket.on("error", () => {});
  socket.pipe(socket);
}).listen(9000, address);
process.on("SIGTERM", () => process.exit(0));
