/**
 * The app behind every proxy: answers each request head with a prepared response. It reads no more than the blank
 * line, so that it costs little beside what is measured; bodies of requests are not understood.
 */
import { createServer } from "node:net";

const body = "x".repeat(Number(process.env["BODY_BYTES"] ?? 128));
const answer = `HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
// GET /bench/...: the long body. GET /bench: the short one.
const long = Buffer.from(
  `HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: ${1 << 20}\r\n\r\n${"x".repeat(1 << 20)}`,
);
const END = Buffer.from("\r\n\r\n");

const server = createServer((socket) => {
  socket.setNoDelay(true);
  let rest: Buffer = Buffer.alloc(0);
  socket.on("data", (chunk) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    for (let end = bytes.indexOf(END); end !== -1; end = bytes.indexOf(END, at)) {
      if (bytes[at + "GET /bench".length] === 47) socket.write(long);
      else socket.write(answer, "latin1");
      at = end + END.length;
    }
    rest = bytes.subarray(at);
  });
  socket.on("error", () => socket.destroy());
});
server.listen(Number(process.env["PORT"] ?? 0), process.env["POD_IP"] ?? "127.0.0.1", () => {
  process.send?.((server.address() as { port: number }).port);
});
