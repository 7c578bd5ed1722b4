/** By which names a workload can be called, with the caller's identity proven, whatever the name. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ask } from "#test/harness/ask.ts";
import { onEachDataPlane } from "#test/harness/each-data-plane.ts";
import type { Echoed } from "#test/harness/echo.ts";

const from = join(import.meta.dirname, "names");
const replace = { ECHO_MAIN: join(import.meta.dirname, "../harness/echo-main.ts") };
const CLIENT = "spiffe://cluster.local/ns/default/sa/client";
const FORMS = ["", ".default", ".default.svc", ".default.svc.cluster.local"];

onEachDataPlane("names", { from, replace, modes: ["explicit", "transparent"] }, (mesh, { mode }) => {
  const testTransparent = mode === "transparent" ? test : (): void => {};
  const testExplicit = mode === "explicit" ? test : (): void => {};

  async function get(host: string, port = 8080): Promise<Partial<Echoed> & { readonly status: number }> {
    const { status, body } = await ask(
      (c) => mesh().exec(mesh().pod("client").name, c),
      `http://${host}:${port}/`,
    );
    return { status, ...(body.startsWith("{") ? (JSON.parse(body) as Echoed) : {}) };
  }
  /** What comes back of bytes that are sent to host and port. */
  async function echo(host: string, port: number): Promise<string> {
    const script = `const s = require("net").connect({ host: ${JSON.stringify(host)}, port: ${port}, allowHalfOpen: true });
      s.end("bytes"); s.on("error", (e) => console.log(e.code)); s.pipe(process.stdout);`;
    const { stdout } = await mesh().exec(mesh().pod("client").name, [process.execPath, "-e", script]);
    return stdout.toString();
  }
  async function explained(url: string): Promise<{ reachesApp: boolean; pods: string[] }> {
    const { out } = await mesh().cli("explain", "--from", "client", url, "-o", "json");
    const { verdict, destinations } = JSON.parse(out);
    return { reachesApp: verdict.reachesApp, pods: destinations.flatMap((d: { pods: string[] }) => d.pods) };
  }

  test.for(["web-0", "web-1"])(
    "%s of a headless Service, by each form of its name, is that pod",
    async (pod) => {
      for (const form of FORMS) {
        const host = `${pod}.web${form}`;
        expect(await get(host), host).toMatchObject({ status: 200, service: pod, identity: CLIENT });
        expect(await explained(`http://${host}:8080/`), host).toEqual({ reachesApp: true, pods: [pod] });
      }
      expect((await get(`${pod}.alias-web`)).service).toBe(pod);
    },
  );

  test("the headless Service itself, by each form, is any of its pods", async () => {
    for (const form of FORMS) {
      const answer = await get(`web${form}`);
      expect(answer, form).toMatchObject({ status: 200, identity: CLIENT });
      expect(answer.service).toMatch(/^web-[01]$/);
    }
  });

  test("what is said of the headless Service holds for each of its pods", async () => {
    await mesh().apply(
      "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: web}\nspec:\n" +
        "  hosts: [web]\n  http:\n  - headers: {request: {set: {x-route: said}}}\n    route: [{destination: {host: web}}]\n",
    );
    for (const host of ["web-1.web", "web-1.web.default.svc.cluster.local"])
      expect(await get(host)).toMatchObject({ service: "web-1", headers: { "x-route": "said" } });
    await mesh().delete("VirtualService", "web");
  });

  testTransparent(
    "TCP to a pod of a headless Service, and to the Service, is mTLS: STRICT lets it in",
    async () => {
      for (const host of ["web-0.web", "web-1.web.default.svc.cluster.local", "web", mesh().pod("web").podIp])
        expect(await echo(host, 9000), host).toBe("bytes");
      expect(await explained("tcp://web-1.web:9000")).toEqual({ reachesApp: true, pods: ["web-1"] });
      const { out } = await mesh().cli("explain", "--from", "client", "tcp://web:9000");
      expect(out).toMatch(/mutual TLS, the caller proves cluster.local\/ns\/default\/sa\/client \(STRICT\)/);
      expect(out.trimEnd().split("\n").at(-1)).toMatch(/^connected: /);
    },
  );

  test("explain: what the route does besides, and what is refused for TCP", async () => {
    await mesh().apply(
      "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: front, namespace: shop}\nspec:\n" +
        "  hosts: [front]\n  http:\n  - timeout: 3s\n    retries: {attempts: 4, perTryTimeout: 0.5s, retryOn: 5xx}\n" +
        "    rewrite: {uri: /new}\n    headers: {response: {remove: [x-powered-by]}}\n    route: [{destination: {host: front}}]\n",
    );
    const { out } = await mesh().cli("explain", "--from", "client", "http://front.shop:8080/old");
    for (const line of [
      "timeout: 3 s, then 504",
      "retries: at most 4, on 5xx, 500 ms for each try",
      "the path becomes /newold",
      "headers: answer without x-powered-by",
    ])
      expect(out.replace(/\n +/g, " ")).toContain(line);
    await mesh().apply(
      "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: front, namespace: shop}\nspec:\n" +
        "  action: DENY\n  rules: [{to: [{operation: {ports: ['9000']}}]}]\n",
    );
    const denied = await mesh().cli("explain", "--from", "client", "tcp://front.shop:9000");
    expect(denied.code).toBe(1);
    expect(denied.out.replace(/\n +/g, " ")).toMatch(/no answer because denied by rule 0 of shop\/front/);
    const { stdout } = await mesh().exec(mesh().pod("client").name, ["env"]);
    const own = /^FRONT_SHOP_SERVICE_HOST=(.*)$/m.exec(stdout.toString())?.[1] ?? "front.shop";
    await expect.poll(() => echo(own, 9000), { timeout: 10_000 }).not.toBe("bytes");
    await mesh().weft("delete", "AuthorizationPolicy", "front", "-n", "shop");
    await mesh().weft("delete", "VirtualService", "front", "-n", "shop");
    await mesh().settled();
  });

  testExplicit("a host that the mesh does not know: 503, and explain says so", async () => {
    expect((await get("nowhere.example")).status).toBe(503);
    expect((await explained("http://nowhere.example:8080/")).reachesApp).toBe(false);
  });

  test.for(["alias", "alias-short", "alias-chain", "alias.default.svc.cluster.local"])(
    "%s, the alias of a Service, is that Service, with mTLS",
    async (host) => {
      expect(await get(host)).toMatchObject({
        status: 200,
        service: expect.stringMatching(/^front-/),
        identity: CLIENT,
      });
      expect((await explained(`http://${host}:8080/`)).reachesApp).toBe(true);
      if (mode === "transparent") expect(await echo(host, 9000)).toBe("bytes");
    },
  );

  test("policies that name the alias or its target hold for both", async () => {
    const rule = (host: string) =>
      `apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: aliased}\nspec:\n` +
      `  hosts: [${host}]\n  http: [{directResponse: {status: 299}}]\n`;
    for (const host of ["alias", "front.shop.svc.cluster.local"]) {
      await mesh().apply(rule(host));
      for (const name of ["alias", "alias-chain", "front.shop"])
        expect((await get(name)).status, name).toBe(299);
    }
    await mesh().delete("VirtualService", "aliased");
  });

  test("aliases in a circle are told, and lead nowhere", async () => {
    expect((await get("round")).status).not.toBe(200);
    expect(await mesh().weft("status")).toMatch(/Service default\/round.*circle/);
  });

  testTransparent("the alias of a host outside is that host, in plaintext", async () => {
    const server = createServer((_, response) => response.end('{"service":"the host"}'));
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address() as AddressInfo;
    for (const ports of [`[{ port: ${port}, name: http }]`, `[{ port: ${port}, name: tcp }]`, "[]"]) {
      await mesh().apply(
        `apiVersion: v1\nkind: Service\nmetadata: {name: outside, namespace: default}\n` +
          `spec: {type: ExternalName, externalName: host.weft.internal, ports: ${ports}}\n`,
      );
      const answer = expect.poll(() => get("outside", port), { timeout: 10_000, interval: 20 });
      await answer.toMatchObject({ status: 200, service: "the host" });
    }
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
    await mesh().delete("Service", "outside");
  });

  test("a Service of another namespace, by its names", async () => {
    for (const host of ["front.shop", "front.shop.svc", "front.shop.svc.cluster.local"])
      expect(await get(host), host).toMatchObject({ status: 200, identity: CLIENT });
  });

  testExplicit("TCP where no name resolves: the environment has an address for each Service", async () => {
    const { stdout } = await mesh().exec(mesh().pod("client").name, ["env"]);
    const env = Object.fromEntries(
      stdout
        .toString()
        .split("\n")
        .map((l) => l.split(/=(.*)/s).slice(0, 2)),
    );
    expect(await echo(env["FRONT_SHOP_SERVICE_HOST"], Number(env["FRONT_SHOP_SERVICE_PORT_TCP"]))).toBe(
      "bytes",
    );
    expect(await echo(env["WEB_SERVICE_HOST"], Number(env["WEB_SERVICE_PORT_TCP"]))).toBe("bytes");
  });
});
