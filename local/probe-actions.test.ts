import { generateKeyPairSync } from "node:crypto";
import { createServer, type RequestListener } from "node:http";
import { createServer as createHttp2 } from "node:http2";
import { createServer as createHttps } from "node:https";
import type { AddressInfo, Server } from "node:net";
import forge from "node-forge";
import { afterEach, expect, test } from "vitest";
import type { HttpAction } from "./container-spec.ts";
import { hostNetwork } from "./network/network.ts";
import { act, type ProbeTarget, run } from "./probe-actions.ts";

const APP = "127.0.0.53";
const target: ProbeTarget = {
  network: hostNetwork({ podIp: "127.0.0.54", appIp: APP, servicePrefix: "127.53" }),
  address: APP,
  exec: (command, timeoutMs) => run(command, "/", { PATH: process.env["PATH"]! }, timeoutMs),
};
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});
async function listen<S extends Server>(server: S, host = APP): Promise<number> {
  servers.push(server);
  await new Promise<void>((done) => server.listen(0, host, done));
  return (server.address() as AddressInfo).port;
}
function http(port: number, more: Partial<HttpAction> = {}): HttpAction {
  return { kind: "http", scheme: "http", host: undefined, path: "/", port, headers: {}, ...more };
}
const probe = (action: Parameters<typeof act>[0]) => act(action, target, 5_000);

function selfSigned(): { key: string; cert: string } {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const key = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = forge.pki.publicKeyFromPem(
    publicKey.export({ type: "spki", format: "pem" }).toString(),
  );
  certificate.validity.notAfter = new Date(Date.now() + 60_000);
  certificate.sign(forge.pki.privateKeyFromPem(key), forge.md.sha256.create());
  return { key, cert: forge.pki.certificateToPem(certificate) };
}

test("HTTP: 200 to 399 is success, anything else says what was answered; headers and Host are as written", async () => {
  let seen: unknown;
  const app: RequestListener = (request, response) => {
    seen = {
      host: request.headers.host,
      token: request.headers["x-token"],
      agent: request.headers["user-agent"],
    };
    response.writeHead(Number(request.url!.slice(1))).end();
  };
  const port = await listen(createServer(app));
  expect(await probe(http(port, { path: "/204", headers: { Host: "shop", "X-Token": "t" } }))).toEqual({});
  expect(seen).toMatchObject({ host: "shop", token: "t", agent: expect.stringContaining("kube-probe") });
  expect(await probe(http(port, { path: "/304" }))).toEqual({});
  expect(await probe(http(port, { path: "/503" }))).toEqual({ fault: "GET /503 answered 503" });
  expect(await probe(http(1))).toEqual({ fault: expect.stringMatching(/^GET \/: connect ECONNREFUSED/) });
});

test("HTTPS without looking at the certificate", async () => {
  const port = await listen(createHttps(selfSigned(), (_, response) => response.end()));
  expect(await probe(http(port, { scheme: "https" }))).toEqual({});
  expect((await probe(http(port))).fault).toMatch(/^GET \/: /);
});

test("redirects: to the same host they are followed, to another they count as success with a note, in circles as a fault", async () => {
  const app: RequestListener = (request, response) => {
    const to: Record<string, string> = {
      "/a": "/b",
      "/b": "/bad",
      "/out": "http://example.org/",
      "/loop": "/loop",
    };
    const location = to[request.url!];
    if (location !== undefined) response.writeHead(302, { location }).end();
    else response.writeHead(request.url === "/bad" ? 500 : 200).end();
  };
  const port = await listen(createServer(app));
  expect(await probe(http(port, { path: "/a" }))).toEqual({
    fault: "GET /a redirected to /bad, which answered 500",
  });
  expect(await probe(http(port, { path: "/out" }))).toEqual({
    note: "GET /out is redirected to http://example.org/, another host: not followed, counted as success",
  });
  expect(await probe(http(port, { path: "/loop" }))).toEqual({ fault: "GET /loop: more than 10 redirects" });
});

test("host: another address is asked", async () => {
  const port = await listen(
    createServer((_, response) => response.end()),
    "127.0.0.77",
  );
  expect(await probe(http(port, { host: "127.0.0.77" }))).toEqual({});
  expect(await probe({ kind: "tcp", host: "127.0.0.77", port })).toEqual({});
  expect((await probe({ kind: "tcp", host: undefined, port })).fault).toContain("ECONNREFUSED");
});

test("no answer in time is a fault, and the connection is closed", async () => {
  const closed = Promise.withResolvers<void>();
  const port = await listen(createServer((request) => request.socket.on("close", () => closed.resolve())));
  expect(await act(http(port), target, 200)).toEqual({ fault: "GET /: no answer in 200 ms" });
  await closed.promise;
});

test("exec: the exit code and the last words", async () => {
  expect(await probe({ kind: "exec", command: ["true"] })).toEqual({});
  expect(await probe({ kind: "exec", command: ["sh", "-c", "echo no disk; exit 4"] })).toEqual({
    fault: "sh -c echo no disk; exit 4: exit code 4: no disk",
  });
  expect(await act({ kind: "exec", command: ["sleep", "60"] }, target, 200)).toEqual({
    fault: "sleep 60: exit code 124: no end in 200 ms",
  });
});

test("gRPC: grpc.health.v1, each state and each way to fail in words", async () => {
  const server = createHttp2();
  server.on("stream", (stream, headers) => {
    let asked = Buffer.alloc(0);
    stream.on("data", (piece: Buffer) => {
      asked = Buffer.concat([asked, piece]);
    });
    stream.on("end", () => {
      const service = asked.subarray(7).toString();
      expect(headers[":path"]).toBe("/grpc.health.v1.Health/Check");
      const grpcStatus: Record<string, string> = { unknown: "5", none: "12" };
      stream.respond(
        { ":status": service === "teapot" ? 418 : 200, "content-type": "application/grpc" },
        { waitForTrailers: true },
      );
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": grpcStatus[service] ?? "0" }));
      stream.end(service in grpcStatus ? "" : Buffer.from([0, 0, 0, 0, 2, 8, service === "down" ? 2 : 1]));
    });
  });
  const port = await listen(server as unknown as Server);
  const grpc = (service: string) => probe({ kind: "grpc", port, service });
  expect(await grpc("")).toEqual({});
  expect(await grpc("shop.Cart")).toEqual({});
  const what = `grpc.health.v1 on port ${port}`;
  expect(await grpc("down")).toEqual({ fault: `${what}: NOT_SERVING` });
  expect(await grpc("unknown")).toEqual({ fault: `${what}: unknown service "unknown"` });
  expect(await grpc("none")).toEqual({ fault: `${what}: the server does not implement the health service` });
  expect(await grpc("teapot")).toEqual({ fault: `${what} answered HTTP 418` });
  expect((await probe({ kind: "grpc", port: 1, service: "" })).fault).toContain("ECONNREFUSED");
});
