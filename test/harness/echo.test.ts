import { once } from "node:events";
import { connect } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Echo, type Echoed, startEcho } from "./echo.ts";

let echo: Echo;
beforeAll(async () => {
  echo = await startEcho("reviews-v1");
});
afterAll(() => echo.close());

test("HTTP: says what it received and from whom", async () => {
  const response = await fetch(`http://127.0.0.1:${echo.httpPort}/a?status=201`, {
    method: "POST",
    body: "hello",
    headers: { "x-forwarded-client-cert": "By=spiffe://td/x;URI=spiffe://cluster.local/ns/default/sa/web" },
  });
  expect(response.status).toBe(201);
  expect((await response.json()) as Echoed).toMatchObject({
    service: "reviews-v1",
    method: "POST",
    path: "/a?status=201",
    body: "hello",
    identity: "spiffe://cluster.local/ns/default/sa/web",
  });
});

test("TCP: every byte comes back, also after half-close", async () => {
  const socket = connect({ port: echo.tcpPort, allowHalfOpen: true });
  socket.end("bytes");
  let back = "";
  socket.on("data", (chunk) => {
    back += chunk;
  });
  await once(socket, "end");
  expect(back).toBe("bytes");
  socket.destroy();
});

test("WebSocket: a frame comes back", async () => {
  const socket = new WebSocket(`ws://127.0.0.1:${echo.httpPort}/ws`);
  await once(socket, "open");
  socket.send("ping");
  const [message] = (await once(socket, "message")) as [MessageEvent];
  expect(message.data).toBe("ping");
  socket.close();
});
