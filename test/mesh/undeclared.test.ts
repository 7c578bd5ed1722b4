/** Ports that do not say what they speak are as safe and as reachable as ports that do. */
import { Agent } from "node:http";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { ask as askFrom } from "#test/harness/ask.ts";
import { type Call, call, type Reply } from "#test/harness/call.ts";
import { onEachDataPlane } from "#test/harness/each-data-plane.ts";
import { callByTls, forged, type Identity, meshTls } from "#test/harness/identity.ts";

const from = join(import.meta.dirname, "undeclared");
const replace = { APP_MAIN: join(import.meta.dirname, "undeclared/app.ts") };
const identityOf = (name: string): string => `spiffe://cluster.local/ns/default/sa/${name}`;
const SOON = { timeout: 20_000, interval: 20 };

onEachDataPlane("undeclared", { from, replace, modes: ["explicit", "transparent"] }, (mesh, on) => {
  let visitor: Identity;
  const hosts: Record<string, string> = {};
  let pod = "";
  beforeAll(async () => {
    // An idle Envoy answers one more request on a connection that was open when a policy changed.
    await mesh().apply(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: web }
spec: { host: web, trafficPolicy: { connectionPool: { http: { maxRequestsPerConnection: 1 } } } }
`);
    visitor = forged(mesh(), { spiffeId: identityOf("visitor") });
    for (const service of ["web", "raw", "greeter", "database"])
      hosts[service] = await mesh().addressOf(service, "client");
    pod = await mesh().podAddress("server");
  });
  const applied: [kind: string, name: string][] = [];
  afterEach(async () => {
    for (const [kind, name] of applied.splice(0)) await mesh().delete(kind, name);
  });
  async function apply(kind: string, spec: string): Promise<void> {
    const group = kind === "VirtualService" ? "networking" : "security";
    if (!applied.some(([k]) => k === kind)) applied.push([kind, "tested"]);
    await mesh().apply(
      `apiVersion: ${group}.istio.io/v1\nkind: ${kind}\nmetadata: { name: tested }\nspec:\n  ${spec}\n`,
    );
  }
  const SERVER = "selector: { matchLabels: { app: server } }";

  const ask = (path = "/", more: Partial<Call> = {}): Promise<Reply> =>
    call({ host: hosts["web"]!, port: 7000, path, ...more, headers: { host: "web:7000", ...more.headers } });
  const status = (path: string, more: Partial<Call> = {}): Promise<number> =>
    ask(path, more).then(
      (reply) => reply.status,
      () => 0,
    );
  const open = (service: string, port: number): Socket =>
    connect({ host: hosts[service]!, port, allowHalfOpen: true }).on("error", () => {});
  /** What a server answers to these bytes until it ends. */
  function talk(socket: Socket, bytes: string, until: RegExp): Promise<string> {
    return new Promise((resolve) => {
      let back = "";
      socket.on("data", (chunk) => {
        back += chunk;
        if (until.test(back)) socket.destroy();
      });
      socket.on("end", () => socket.destroy());
      socket.on("close", () => resolve(back));
      if (bytes !== "") socket.write(bytes);
    });
  }

  describe("HTTP", () => {
    test("arrives as HTTP, with the caller's identity", async () => {
      const { status, echoed } = await ask("/x");
      expect({ status, identity: echoed?.identity }).toEqual({ status: 200, identity: identityOf("client") });
      expect(echoed?.headers).toHaveProperty("x-request-id");
    });

    test.each(["PERMISSIVE", "STRICT"])(
      "HTTP rules hold per request in %s, allowed and denied",
      async (mode) => {
        await apply("PeerAuthentication", `{ ${SERVER}, mtls: { mode: ${mode} } }`);
        await apply(
          "AuthorizationPolicy",
          `{ ${SERVER}, action: ALLOW, rules: [{ from: [{ source: { principals: [cluster.local/ns/default/sa/client] } }], to: [{ operation: { methods: [GET], paths: [/x] } }] }] }`,
        );
        await expect.poll(() => status("/y"), SOON).toBe(403);
        expect(await status("/x")).toBe(200);
        expect(await status("/x", { method: "POST" })).toBe(403);
        const byHand = { host: pod, port: 7000, path: "/x", headers: { host: "web:7000" } };
        expect((await callByTls(byHand, visitor)).status).toBe(403);
        expect(
          await call(byHand).then(
            (r) => r.status,
            () => 0,
          ),
        ).toBe(mode === "STRICT" ? 0 : 403);
      },
    );

    test("a DENY on a path reaches connections that are kept", async () => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      expect(await status("/secret", { agent })).toBe(200);
      await apply(
        "AuthorizationPolicy",
        `{ ${SERVER}, action: DENY, rules: [{ to: [{ operation: { paths: [/secret] } }] }] }`,
      );
      await expect.poll(() => status("/secret", { agent }), SOON).toBe(403);
      expect(await status("/other", { agent })).toBe(200);
      agent.destroy();
    });

    test("a peer that calls it TCP in the handshake is not let past a rule about a path", async () => {
      await apply(
        "AuthorizationPolicy",
        `{ ${SERVER}, action: DENY, rules: [{ to: [{ operation: { paths: [/secret] } }] }] }`,
      );
      await expect.poll(() => status("/secret"), SOON).toBe(403);
      const socket = await meshTls({ host: pod, port: 7000 }, visitor, ["istio"]);
      socket.on("error", () => {});
      const answer = await talk(socket, "GET /secret HTTP/1.1\r\nHost: web:7000\r\n\r\n", /identity/);
      expect(answer).not.toContain("HTTP/1.1 200");
    });

    test("whatever its request line looks like, it meets the routes", async () => {
      await apply(
        "VirtualService",
        "{ hosts: [web], http: [{ fault: { abort: { percentage: { value: 100 }, httpStatus: 418 } }, route: [{ destination: { host: web } }] }] }",
      );
      await expect.poll(() => status("/"), SOON).toBe(418);
      const said = (line: string): Promise<string> =>
        talk(open("web", 7000), `${line}\r\nHost: web:7000\r\n\r\n`, /\r\n\r\n/);
      for (const line of [
        `GET /${"x".repeat(20_000)} HTTP/1.1`,
        `GET /${"x".repeat(70_000)} HTTP/1.1`,
        "GET / HTTP/1.0",
        ...(on.dataPlane === "weft" ? ["GET\t/ HTTP/1.1", "GET / http/1.1", "GET /", "ODD / HTTP/1.1"] : []),
      ])
        expect(await said(line)).not.toContain("HTTP/1.1 200");
      const slowly = open("web", 7000).setNoDelay();
      for (const byte of "GET / HTTP/1.1\r\nHost: web:7000\r\n") slowly.write(byte);
      expect(await talk(slowly, "\r\n", /\r\n\r\n/)).toContain("418");
    });

    test("HTTP/1.0 is asked to come back with HTTP/1.1, as on a port of HTTP", async () => {
      const answer = await talk(open("web", 7000), "GET / HTTP/1.0\r\nHost: web:7000\r\n\r\n", /Required$/);
      expect(answer).toContain("426");
    });

    test.runIf(on.mode === "explicit")("through the HTTP proxy", async () => {
      const run = (command: readonly string[]) => mesh().exec(mesh().pod("client").name, command);
      const { status, body } = await askFrom(run, "http://web:7000/by-proxy");
      expect({ status, identity: JSON.parse(body).identity }).toEqual({
        status: 200,
        identity: identityOf("client"),
      });
    });

    test("explain names the chain that takes it, and what stands there", async () => {
      await apply(
        "AuthorizationPolicy",
        `{ ${SERVER}, action: DENY, rules: [{ to: [{ operation: { paths: [/secret] } }] }] }`,
      );
      const explained = async (path: string) =>
        JSON.parse(
          (await mesh().cli("explain", "-o", "json", "--from", "client", `http://web:7000${path}`)).out,
        );
      for (const path of ["/secret", "/other"]) {
        await expect.poll(() => status(path), SOON).toBe(path === "/secret" ? 403 : 200);
        expect((await explained(path)).verdict.status).toBe(await status(path));
      }
    });
  });

  describe("TCP", () => {
    test("bytes pass by mTLS, also where it is required", async () => {
      await apply("PeerAuthentication", `{ ${SERVER}, mtls: { mode: STRICT } }`);
      expect(await talk(open("raw", 7001), "bytes\n", /\n/)).toBe("bytes\n");
    });

    test("an open connection is ended when it is denied", async () => {
      const socket = open("raw", 7001);
      socket.write("bytes\n");
      await vi.waitUntil(() => socket.bytesRead === 6, SOON);
      await apply(
        "AuthorizationPolicy",
        `{ ${SERVER}, action: DENY, rules: [{ from: [{ source: { principals: [cluster.local/ns/default/sa/client] } }] }] }`,
      );
      socket.resume();
      await vi.waitUntil(() => socket.destroyed || socket.readableEnded, SOON);
      socket.destroy();
    });

    test("a server that speaks first is heard at once on a well-known port, after a while on others", async () => {
      const heard: string[] = [];
      const others = open("greeter", 7002);
      const greeting = talk(others, "", /service/).then(() => heard.push("greeter"));
      await talk(open("database", 3306), "", /service/).then(() => heard.push("database"));
      await greeting;
      expect(heard).toEqual(["database", "greeter"]);
      if (on.dataPlane === "weft")
        expect(mesh().log(mesh().pod("client").name)).toMatch(/port 7002: its client said nothing/);
    });
  });
});
