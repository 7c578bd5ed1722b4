/** Who may speak to whom, and what can be seen or said on the way: asked of both data planes by callers of every kind. */
import { writeFileSync } from "node:fs";
import { Agent } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { toPem } from "#certs/x509/index.ts";
import { ask as askFrom } from "#test/harness/ask.ts";
import { type Call, call, type Reply } from "#test/harness/call.ts";
import { certificate, ecKeys } from "#test/harness/certificates.ts";
import { onEachDataPlane } from "#test/harness/each-data-plane.ts";
import { asFiles, callByTls, certified, forged, type Identity, meshTls } from "#test/harness/identity.ts";
import { run } from "#test/harness/mesh.ts";
import { noOpenssl } from "#test/harness/openssl.ts";

const from = join(import.meta.dirname, "echo");
const replace = { ECHO_MAIN: join(import.meta.dirname, "../harness/echo-main.ts") };
const CLIENT = "spiffe://cluster.local/ns/default/sa/client";
const VISITOR = "spiffe://cluster.local/ns/other/sa/visitor";
/** How long a policy may take to be in force. */
const SOON = { timeout: 10_000, interval: 10 };
const ECHO = "spiffe://cluster.local/ns/default/sa/echo";

onEachDataPlane(
  "security",
  { from, replace, modes: ["explicit", "transparent"] },
  (mesh, { dataPlane, mode }) => {
    // What needs addresses of loopback, or the HTTP proxy port.
    const testExplicit = mode === "explicit" ? test : (): void => {};
    let service = "";
    let podIp = "";
    let visitor: Identity;
    const applied: [kind: string, name: string][] = [];
    beforeAll(async () => {
      // Envoy answers one more request on each connection that was open when a policy changed: here none is.
      mesh().edit("mesh.yaml", (text) =>
        text.replace(
          "  host: echo\n",
          "  host: echo\n  trafficPolicy: { connectionPool: { http: { maxRequestsPerConnection: 1 } } }\n",
        ),
      );
      await mesh().settled();
      service = await mesh().addressOf("echo", "client");
      podIp = await mesh().podAddress("echo-v1");
      visitor = forged(mesh(), { spiffeId: VISITOR });
    });
    afterEach(async () => {
      for (const [kind, name] of applied.splice(0)) await mesh().delete(kind, name);
    });

    /** Policies for the pods of echo, gone after the test. */
    async function policy(kind: "PeerAuthentication" | "AuthorizationPolicy", spec: string): Promise<void> {
      if (!applied.some(([k]) => k === kind)) applied.push([kind, "tested"]);
      await mesh().apply(
        `apiVersion: security.istio.io/v1\nkind: ${kind}\nmetadata: { name: tested }\nspec:${spec}\n`,
      );
    }

    type Who = "client" | "visitor" | "nobody";
    /** "client" through its sidecar, "visitor" by hand-made mTLS, "nobody" in plaintext; 0: the connection was refused. */
    async function ask(who: Who, path = "/", more: Partial<Call> = {}): Promise<Reply | null> {
      const request = { port: 8080, path, ...more, headers: { host: "echo:8080", ...more.headers } };
      const sent =
        who === "client"
          ? call({ host: service, ...request })
          : who === "visitor"
            ? callByTls({ host: podIp, ...request }, visitor)
            : call({ host: podIp, ...request });
      return await sent.catch(() => null);
    }
    async function status(who: Who, path = "/", more: Partial<Call> = {}): Promise<number> {
      return (await ask(who, path, more))?.status ?? 0;
    }
    const allowed = (expected: Record<Who, number>) =>
      expect
        .poll(
          async () => ({
            client: await status("client"),
            visitor: await status("visitor"),
            nobody: await status("nobody"),
          }),
          SOON,
        )
        .toEqual(expected);
    const identity = async (who: Who) => (await ask(who))?.echoed?.identity;

    /** "bytes" sent to the TCP port and what came back; "" when the connection was closed instead. */
    function talk(socket: Socket): Promise<string> {
      return new Promise((resolve) => {
        let back = "";
        socket.on("data", (chunk) => {
          back += chunk;
          socket.end(); // not before: Envoy drops a plaintext connection that ends while it is looked at
        });
        socket.on("end", () => socket.end());
        socket.on("error", () => {});
        socket.on("close", () => resolve(back));
        socket.write("bytes");
      });
    }
    async function tcp(who: Who): Promise<string> {
      if (who === "client") return await talk(connect({ host: service, port: 9000, allowHalfOpen: true }));
      const to = { host: podIp, port: 9000 };
      if (who === "nobody") return await talk(connect({ ...to, allowHalfOpen: true }));
      return await meshTls(to, visitor, ["istio"]).then(talk, () => "");
    }

    test("a gateway is called from inside of the mesh, by the name of its Service", async () => {
      applied.push(["VirtualService", "inside"]);
      await mesh().apply(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: inside }
spec: { hosts: ["*"], gateways: [door], http: [{ route: [{ destination: { host: echo, port: { number: 8080 } } }] }] }
`);
      const run = (command: readonly string[]) => mesh().exec(mesh().pod("client").name, command);
      const url = `http://istio-ingressgateway:${new URL(mesh().gateway).port}/`;
      await expect.poll(async () => (await askFrom(run, url)).status, SOON).toBe(200);
    });

    describe("DestinationRule tls SIMPLE, to a server outside of the mesh", () => {
      const root = ecKeys();
      const keys = ecKeys();
      const rootDer = certificate({ issuer: "out", subject: "out", keys: root, signer: root, isCa: true });
      const leaf = certificate({
        issuer: "out",
        keys,
        signer: root,
        isCa: false,
        dnsNames: ["legacy.example"],
      });
      const server = createHttpsServer(
        {
          key: keys.privateKey.export({ format: "pem", type: "pkcs8" }),
          cert: toPem("CERTIFICATE", leaf),
        },
        (request, response) => response.end(`by TLS: ${request.headers.host}`),
      );
      beforeAll(async () => {
        await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
      });
      afterAll(() => void server.close());
      const outside = async (tls: string): Promise<void> => {
        const { port } = server.address() as AddressInfo;
        const address = mode === "explicit" ? "127.0.0.1" : "10.244.255.254";
        if (applied.length === 0) applied.push(["ServiceEntry", "legacy"], ["DestinationRule", "legacy"]);
        await mesh().apply(`
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: legacy }
spec:
  hosts: [legacy.example]
  resolution: STATIC
  ports: [{ number: 8088, name: http, protocol: HTTP }]
  endpoints: [{ address: ${address}, ports: { http: ${port} } }]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: legacy }
spec: { host: legacy.example, trafficPolicy: { tls: { mode: SIMPLE${tls} } } }
`);
      };
      const run = (command: readonly string[]) => mesh().exec(mesh().pod("client").name, command);
      const answer = () => askFrom(run, "http://legacy.example:8088/");
      const caFile = (name: string): string => {
        const path = join(mesh().stateDir, name);
        writeFileSync(path, toPem("CERTIFICATE", rootDer));
        return path;
      };

      test("a CA file is trusted, the name is checked", async () => {
        await outside(`, caCertificates: ${caFile("outside-ca.pem")}`);
        await expect
          .poll(answer, SOON)
          .toMatchObject({ status: 200, body: expect.stringContaining("by TLS: legacy.example") });
        await outside(`, caCertificates: ${caFile("outside-ca.pem")}, subjectAltNames: [other.example]`);
        await expect.poll(answer, SOON).toMatchObject({ status: 503 });
      });

      test("without a file the system's roots are, which do not know it; unless nothing is to be checked", async () => {
        await outside("");
        await expect.poll(answer, SOON).toMatchObject({ status: 503 });
        await outside(", insecureSkipVerify: true");
        await expect.poll(answer, SOON).toMatchObject({ status: 200 });
      });

      test("a CA file that is not there trusts nobody, and holds up no other change", async () => {
        await outside(", caCertificates: /nowhere/ca.pem");
        await expect.poll(answer, SOON).toMatchObject({ status: 503 });
        applied.push(["VirtualService", "later"]);
        await mesh().apply(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: later }
spec: { hosts: [echo], http: [{ directResponse: { status: 418 } }] }
`);
        await expect.poll(() => status("client"), SOON).toBe(418);
        await policy("AuthorizationPolicy", " { action: DENY, rules: [{}] }");
        await expect.poll(() => status("visitor"), SOON).toBe(403);
      });
    });

    describe("PeerAuthentication", () => {
      test("none is PERMISSIVE: mTLS has an identity, plaintext has none", async () => {
        expect(await identity("client")).toBe(CLIENT);
        expect(await identity("visitor")).toBe(VISITOR);
        expect(await identity("nobody")).toBe(null);
        expect([await tcp("client"), await tcp("visitor"), await tcp("nobody")]).toEqual(
          Array(3).fill("bytes"),
        );
      });

      test("STRICT: who offers h2 gets a protocol that the proxy speaks, and an answer", async () => {
        await policy("PeerAuthentication", " { mtls: { mode: STRICT } }");
        await allowed({ client: 200, visitor: 200, nobody: 0 });
        const socket = await meshTls({ host: podIp, port: 8080 }, visitor, ["h2", "http/1.1"]);
        expect(socket.alpnProtocol).toBe(dataPlane === "weft" ? "http/1.1" : "h2");
        if (dataPlane === "weft") {
          socket.write("GET / HTTP/1.1\r\nHost: echo:8080\r\nConnection: close\r\n\r\n");
          expect(await talk(socket)).toContain("HTTP/1.1 200");
        }
        socket.destroy();
      });

      test("STRICT: plaintext is refused, on HTTP and TCP ports", async () => {
        await policy("PeerAuthentication", " { mtls: { mode: STRICT } }");
        await allowed({ client: 200, visitor: 200, nobody: 0 });
        expect([await tcp("client"), await tcp("visitor"), await tcp("nobody")]).toEqual([
          "bytes",
          "bytes",
          "",
        ]);
        expect(await identity("client")).toBe(CLIENT);
      });

      test("DISABLE: plaintext only, and clients know", async () => {
        await policy("PeerAuthentication", " { mtls: { mode: DISABLE } }");
        await allowed({ client: 200, visitor: 0, nobody: 200 });
        await expect.poll(() => identity("client"), SOON).toBe(null); // connections from before may end first
        expect([await tcp("client"), await tcp("nobody")]).toEqual(["bytes", "bytes"]);
      });

      test("a port has a mode of its own", async () => {
        await policy(
          "PeerAuthentication",
          `
  selector: { matchLabels: { app: echo } }
  mtls: { mode: STRICT }
  portLevelMtls: { 8080: { mode: PERMISSIVE } }`,
        );
        await expect.poll(() => tcp("nobody"), SOON).toBe("");
        await allowed({ client: 200, visitor: 200, nobody: 200 });
        expect(await tcp("client")).toBe("bytes");
      });
    });

    describe("AuthorizationPolicy", () => {
      const onEcho = "  selector: { matchLabels: { app: echo } }\n";
      const rules = (spec: string): Promise<void> => policy("AuthorizationPolicy", `\n${onEcho}${spec}`);

      test.for<[string, string, Record<Who, number>]>([
        [
          "ALLOW a principal",
          `  rules: [{ from: [{ source: { principals: ["cluster.local/ns/default/sa/client"] } }] }]`,
          { client: 200, visitor: 403, nobody: 403 },
        ],
        [
          "ALLOW a namespace",
          `  rules: [{ from: [{ source: { namespaces: [other] } }] }]`,
          { client: 403, visitor: 200, nobody: 403 },
        ],
        [
          "ALLOW whoever has an identity",
          `  rules: [{ from: [{ source: { principals: ["*"] } }] }]`,
          { client: 200, visitor: 200, nobody: 403 },
        ],
        [
          "ALLOW by the end of a principal",
          `  rules: [{ from: [{ source: { principals: ["*/sa/visitor"] } }] }]`,
          { client: 403, visitor: 200, nobody: 403 },
        ],
        [
          "ALLOW without a namespace is not for who has none",
          `  rules: [{ from: [{ source: { notNamespaces: [other] } }] }]`,
          { client: 200, visitor: 403, nobody: 200 },
        ],
        [
          "DENY a principal",
          `  action: DENY\n  rules: [{ from: [{ source: { principals: ["cluster.local/ns/other/sa/visitor"] } }] }]`,
          { client: 200, visitor: 403, nobody: 200 },
        ],
        [
          "DENY all but one",
          `  action: DENY\n  rules: [{ from: [{ source: { notPrincipals: ["cluster.local/ns/default/sa/client"] } }] }]`,
          { client: 200, visitor: 403, nobody: 403 },
        ],
        ["ALLOW nothing: everyone is denied", "  action: ALLOW", { client: 403, visitor: 403, nobody: 403 }],
        ["a rule without conditions takes all", "  rules: [{}]", { client: 200, visitor: 200, nobody: 200 }],
        [
          "AUDIT decides nothing",
          "  action: AUDIT\n  rules: [{}]",
          { client: 200, visitor: 200, nobody: 200 },
        ],
      ])("%s", async ([_, spec, expected]) => {
        await rules(spec);
        await allowed(expected);
        if (expected.nobody === 403) expect((await ask("nobody"))?.body).toBe("RBAC: access denied");
      });

      test("path templates match what Envoy matches: ** wants its slash", async () => {
        await rules(`  rules: [{ to: [{ operation: { paths: ["/c/{**}", "/api/{**}/x", "/v/{*}"] } }] }]`);
        const asked = async (paths: string[]) =>
          Promise.all(paths.map(async (path) => (await ask("client", path))?.status));
        const passes = ["/c/", "/c/d/e", "/api/1/x", "/api/1/2/x", "/v/1", "/v/1?q=/2"];
        await expect.poll(() => asked(passes), SOON).toEqual(passes.map(() => 200));
        const refused = ["/", "/c", "/api/x", "/api/1/x/y", "/v", "/v/", "/v/1/2"];
        expect(await asked(refused)).toEqual(refused.map(() => 403));
      });

      test("methods and paths, also by other spellings of a path", async () => {
        await rules(`  action: DENY
  rules:
    - to: [{ operation: { methods: [POST] } }]
    - to: [{ operation: { paths: [/admin, "/secret/*", "*.key"] } }]`);
        await expect.poll(() => status("client", "/", { method: "POST" }), SOON).toBe(403);
        expect(await status("client", "/", { method: "PUT" })).toBe(200);
        for (const path of [
          "/admin",
          "/admin?q",
          "/./admin",
          "/x/../admin",
          "/x/%2e%2e/admin",
          "/%61dmin",
          "/secret/",
          "/secret/a/b",
          "/a.key",
        ])
          for (const who of ["client", "nobody"] as const) expect(await status(who, path), path).toBe(403);
        for (const path of ["/admin/", "/secret", "/a.keys", "/ADMIN", "//admin", "/?p=/admin"])
          expect(await status("client", path), path).toBe(200);
      });

      test("hosts and headers", async () => {
        await rules(`  rules:
    - to: [{ operation: { hosts: ["echo:*"] } }]
      when: [{ key: "request.headers[x-role]", values: [admin, "ops-*"] }]`);
        const role = (name: string): Partial<Call> => ({ headers: { "x-role": name } });
        await expect.poll(() => status("client"), SOON).toBe(403);
        expect(await status("client", "/", role("admin"))).toBe(200);
        expect(await status("client", "/", role("ops-1"))).toBe(200);
        expect(await status("client", "/", role("Admin"))).toBe(403);
        expect(await status("nobody", "/", { headers: { host: "other", "x-role": "admin" } })).toBe(403);
      });

      test("ipBlocks: a caller's own pod, in both modes", async () => {
        const [own, other] = [mesh().pod("client").podIp, mesh().pod("echo-v2").podIp];
        await rules(`  rules: [{ from: [{ source: { ipBlocks: ["${other}"] } }] }]`);
        await expect.poll(() => status("client"), SOON).toBe(403);
        await rules(`  rules: [{ from: [{ source: { ipBlocks: ["${own}"] } }] }]`);
        await expect.poll(() => status("client"), SOON).toBe(200);
      });

      testExplicit("ipBlocks: the address of the peer, not what it says", async () => {
        await rules(`  rules: [{ from: [{ source: { ipBlocks: ["127.0.9.0/29"] } }] }]`);
        await expect.poll(() => status("client"), SOON).toBe(403);
        expect(await status("nobody", "/", { localAddress: "127.0.9.7" })).toBe(200);
        expect(await status("nobody", "/", { localAddress: "127.0.9.8" })).toBe(403);
        const claim = { "x-forwarded-for": "127.0.9.7", "x-envoy-external-address": "127.0.9.7" };
        expect(await status("nobody", "/", { headers: claim })).toBe(403);
      });

      test("a TCP port", async () => {
        await rules(
          `  rules: [{ from: [{ source: { principals: ["*/sa/client"] } }], to: [{ operation: { ports: ["9000"] } }] }]`,
        );
        await expect.poll(() => tcp("nobody"), SOON).toBe("");
        expect([await tcp("client"), await tcp("visitor")]).toEqual(["bytes", ""]);
        expect(await status("client")).toBe(403);
      });

      test("on a TCP port a rule about HTTP allows nothing, and denies without that condition", async () => {
        await rules(`  rules: [{ to: [{ operation: { ports: ["9000"], methods: [GET] } }] }]`);
        await expect.poll(() => tcp("client"), SOON).toBe("");
        await rules(
          `  action: DENY\n  rules: [{ to: [{ operation: { ports: ["9000"], methods: [GET] } }] }]`,
        );
        await expect.poll(() => status("client"), SOON).toBe(200);
        expect(await tcp("client")).toBe("");
      });

      test("a revoked permission bites on the next request of a kept connection", async () => {
        const agent = new Agent({ keepAlive: true, maxSockets: 1 });
        const first = await ask("nobody", "/", { agent });
        expect(first?.status).toBe(200);
        await rules(`  action: DENY\n  rules: [{}]`);
        let next = await ask("nobody", "/", { agent });
        expect(next?.localPort).toBe(first?.localPort);
        // Envoy keeps the old filters for a connection; ours answers once more, and says that it was the last time.
        if (dataPlane === "envoy" && next?.status === 200) {
          expect(next.headers.connection).toBe("close");
          next = await ask("nobody", "/", { agent });
        }
        expect(next?.status).toBe(403);
        agent.destroy();
      });
    });

    describe("claims of a client", () => {
      const claims = {
        "x-forwarded-client-cert":
          "By=spiffe://cluster.local/ns/default/sa/echo;Hash=00;URI=spiffe://cluster.local/ns/istio-system/sa/admin",
      };
      test.for<[Who, string | null]>([
        ["client", CLIENT],
        ["visitor", VISITOR],
        ["nobody", null],
      ])("x-forwarded-client-cert of %s is not believed", async ([who, expected]) => {
        const reply = await ask(who, "/", { headers: claims });
        expect(reply?.echoed?.identity).toBe(expected);
        // Of a peer with a certificate it is kept, in front of what we know of the peer (Istio: APPEND_FORWARD).
        expect(reply?.body.includes("sa/admin")).toBe(who === "visitor");
      });

      test.for<Who>(["visitor", "nobody"])("x-envoy-* of %s change nothing", async (who) => {
        const headers = {
          "x-envoy-upstream-rq-timeout-ms": "1",
          "x-envoy-upstream-alt-stat-name": "x",
          "x-envoy-max-retries": "9",
          "x-envoy-retry-on": "5xx",
          "x-envoy-decorator-operation": "x",
          "x-envoy-original-path": "/other",
        };
        const reply = await ask(who, "/real?delay=100", { headers });
        expect(reply).toMatchObject({ status: 200, echoed: { path: "/real?delay=100" } });
      });
    });

    describe("on the wire", () => {
      const missing = noOpenssl();
      beforeAll(() =>
        mesh().apply(
          "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: { name: strict }\nspec: { mtls: { mode: STRICT } }\n",
        ),
      );
      const openssl = (...args: string[]) =>
        run(
          [
            "sh",
            "-c",
            `printf 'GET / HTTP/1.1\\r\\nHost: echo\\r\\nConnection: close\\r\\n\\r\\n' | "$@"`,
            "sh",
          ].concat(
            ["openssl", "s_client", "-connect", `${podIp}:8080`, "-alpn", "istio-http/1.1", "-ign_eof"],
            args,
          ),
          process.env,
        );

      test.skipIf(missing)(
        "openssl with a certificate of the CA: TLS 1.3, and both have their SPIFFE ids",
        async () => {
          const { cert, key, root } = asFiles(await certified(mesh(), mesh().pod("client").name), mesh().dir);
          const { stdout } = await openssl("-cert", cert, "-key", key, "-CAfile", root, "-showcerts");
          const said = stdout.toString();
          expect(said).toContain("TLSv1.3");
          expect(said).toContain("Verify return code: 0 (ok)");
          expect(said).toContain(`"identity":"${CLIENT}"`);
          const server = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/.exec(said)?.[0] ?? "";
          const shown = await run(
            ["sh", "-c", `echo "$1" | openssl x509 -noout -ext subjectAltName`, "sh", server],
            process.env,
          );
          expect(shown.stdout.toString()).toContain(`URI:${ECHO}`);
        },
      );

      test.skipIf(missing)("openssl without a certificate is refused", async () => {
        const { stdout, stderr } = await openssl();
        // errno 104: the reset overtook the alert.
        expect(stdout.toString() + stderr).toMatch(
          /certificate required|handshake failure|unexpected eof|errno=104/,
        );
        expect(stdout.toString()).not.toContain("HTTP/1.1");
      });

      test.skipIf(missing)("openssl with TLS 1.1 is refused", async () => {
        const { cert, key } = asFiles(await certified(mesh(), mesh().pod("client").name), mesh().dir);
        const { stdout } = await openssl("-cert", cert, "-key", key, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0");
        expect(stdout.toString()).not.toContain("HTTP/1.1");
        expect(stdout.toString()).toMatch(/Cipher is \(NONE\)/);
      });

      const DAY_MS = 86_400_000;
      test.for<[string, () => Parameters<typeof forged>[1]]>([
        ["of another CA", () => ({ spiffeId: CLIENT, by: "stranger" })],
        [
          "that has expired",
          () => ({ spiffeId: CLIENT, notBefore: Date.now() - DAY_MS, notAfter: Date.now() - 1000 }),
        ],
        [
          "that is not valid yet",
          () => ({ spiffeId: CLIENT, notBefore: Date.now() + DAY_MS, notAfter: Date.now() + 2 * DAY_MS }),
        ],
        ["of another trust domain", () => ({ spiffeId: "spiffe://other.example/ns/default/sa/client" })],
        [
          "of a trust domain that begins alike",
          () => ({ spiffeId: "spiffe://cluster.local.evil/ns/default/sa/client" }),
        ],
      ])("a certificate %s is refused", async ([_, forgery]) => {
        const to = { host: podIp, port: 8080, headers: { host: "echo" } };
        await expect(callByTls(to, forged(mesh(), forgery()))).rejects.toThrow();
        expect(await callByTls(to, forged(mesh(), { spiffeId: CLIENT }))).toMatchObject({ status: 200 });
      });

      testExplicit("between two pods goes TLS 1.3, and no byte of what they say", async () => {
        const seen: Buffer[] = [];
        const relay = createServer((near) => {
          const far = connect({ host: podIp, port: 8080 });
          near.on("data", (chunk) => seen.push(chunk)).on("error", () => far.destroy());
          far.on("data", (chunk) => seen.push(chunk)).on("error", () => near.destroy());
          near.pipe(far).pipe(near);
        });
        await new Promise<void>((done) => relay.listen(0, "127.0.0.1", done));
        const { port } = relay.address() as { port: number };
        await mesh().apply(`
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: relayed }
spec:
  hosts: [relayed.example]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 8080, name: http, protocol: HTTP }]
  endpoints: [{ address: 127.0.0.1, ports: { http: ${port} } }]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: relayed }
spec:
  host: relayed.example
  trafficPolicy: { tls: { mode: ISTIO_MUTUAL, subjectAltNames: ["${ECHO}"] } }
`);
        const marker = "this-must-not-be-seen";
        const request = {
          host: service.replace(/\d+\.\d+$/, "0.1"),
          port: 15001,
          method: "POST",
          path: `http://relayed.example:8080/${marker}`,
          headers: { host: "relayed.example:8080", "x-marker": marker },
          body: marker,
        };
        await expect.poll(async () => (await call(request)).status, SOON).toBe(200);
        expect((await call(request)).echoed).toMatchObject({ identity: CLIENT, body: marker });
        const bytes = Buffer.concat(seen);
        expect(bytes.includes(marker)).toBe(false);
        expect(bytes.includes("HTTP/1.1")).toBe(false);
        expect(bytes.includes(CLIENT)).toBe(false); // TLS 1.3 hides certificates as well
        expect(seen[0]?.[0]).toBe(0x16);

        // Of an endpoint with another identity nothing is wanted.
        await mesh().apply(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: relayed }
spec:
  host: relayed.example
  trafficPolicy: { tls: { mode: ISTIO_MUTUAL, subjectAltNames: ["${VISITOR}"] } }
`);
        await expect.poll(async () => (await call(request)).status, SOON).toBe(503);
        relay.close();
      });
    });
  },
);
