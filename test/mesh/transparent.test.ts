/** What only transparent mode can do: programs that know of no proxy, and every way in and out of a pod. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ask } from "#test/harness/ask.ts";
import { onEachDataPlane } from "#test/harness/each-data-plane.ts";

const from = join(import.meta.dirname, "transparent");
const identityOf = (name: string): string => `spiffe://cluster.local/ns/default/sa/${name}`;

onEachDataPlane("transparent", { from, modes: ["transparent"] }, (mesh) => {
  const name = (workload: string): string => mesh().pod(workload).name;
  const ip = (workload: string): string => mesh().pod(workload).podIp;

  interface Answer {
    readonly status: number;
    readonly pod?: string;
    readonly from?: string;
    readonly identity?: string | null;
  }
  /** GET by a program beside the app; status 0: no answer. */
  async function get(caller: string, url: string): Promise<Answer> {
    const { status, body } = await ask((c) => mesh().exec(name(caller), c), url);
    return { status, ...(body.startsWith("{") ? JSON.parse(body) : {}) };
  }

  test.for(["beta", "beta.default", "beta.default.svc", "beta.default.svc.cluster.local"])(
    "%s is a name; the call has the caller's identity",
    async (host) => {
      expect(await get("alpha", `http://${host}:8080/`)).toMatchObject({
        status: 200,
        pod: name("beta"),
        identity: identityOf("alpha"),
      });
    },
  );

  test("a headless Service is the addresses of its pods", async () => {
    const { stdout } = await mesh().exec(name("alpha"), ["getent", "hosts", "beta-headless"]);
    expect(stdout.toString().split(/\s+/)[0]).toBe(ip("beta"));
    expect(await get("alpha", "http://beta-headless:8080/")).toMatchObject({
      status: 200,
      pod: name("beta"),
    });
  });

  test("the app knows of no proxy", async () => {
    const { stdout } = await mesh().exec(name("alpha"), ["env"]);
    expect(stdout.toString()).not.toMatch(/proxy/i);
    expect(stdout.toString()).toContain(`POD_IP=${ip("alpha")}\n`);
  });

  test("a pod calls its own Service: out and in again through its proxy", async () => {
    expect(await get("beta", "http://beta:8080/")).toMatchObject({
      status: 200,
      pod: name("beta"),
      identity: identityOf("beta"),
    });
  });

  test("a pod calls itself, by loopback and by its address: past the proxy", async () => {
    expect(await get("alpha", "http://localhost:8080/")).toMatchObject({ status: 200, identity: null });
    const itself = { status: 200, from: ip("beta").replace("10.244.0.", "10.244.1.") };
    expect(await get("beta", `http://${ip("beta")}:8081/`)).toMatchObject(itself);
  });

  test("a pod calls the address of another: plaintext, as the address belongs to no Service", async () => {
    const answer = await get("alpha", `http://${ip("beta")}:8080/`);
    expect(answer).toMatchObject({ status: 200, pod: name("beta"), from: "127.0.0.6", identity: null });
  });

  test("a port that no Service names is passed through", async () => {
    const answer = await get("alpha", `http://${ip("beta")}:8081/`);
    expect(answer).toMatchObject({ status: 200, pod: name("beta"), from: "127.0.0.6" });
  });

  test("STRICT: plaintext is refused, from a pod, from a pod without sidecar and from outside; mTLS is not", async () => {
    expect(await get("alpha", "http://strict:8080/")).toMatchObject({ status: 200, pod: name("strict") });
    expect((await get("alpha", `http://${ip("strict")}:8080/`)).status).toBe(503);
    expect((await get("alpha", `http://${ip("strict")}:8081/`)).status).toBe(0);
    expect((await get("plain", "http://strict:8080/")).status).toBe(0);
    const outside = await ask((c) => mesh().execOnNode(c), `http://${ip("strict")}:8080/`);
    expect(outside).toEqual({ status: 0, body: "ECONNRESET" });
  });

  test("a pod without sidecar calls and is called by name, without identity", async () => {
    const called = { status: 200, identity: null };
    expect(await get("plain", "http://beta:8080/")).toMatchObject({ ...called, pod: name("beta") });
    expect(await get("alpha", "http://plain:8080/")).toMatchObject({ ...called, pod: name("plain") });
  });

  test("raw TCP by name, half-close included", async () => {
    const script = `const s = require("net").connect({ host: "beta", port: 9000, allowHalfOpen: true });
      s.end("bytes"); s.pipe(process.stdout);`;
    const { stdout, stderr } = await mesh().exec(name("alpha"), [process.execPath, "-e", script]);
    expect(stderr + stdout).toBe("bytes");
  });

  test("an address that nobody has: 503 on a port of HTTP, an end on others, at once", async () => {
    expect((await get("alpha", "http://10.244.9.9:8080/")).status).toBe(503);
    expect((await get("alpha", "http://10.244.9.9:1234/")).status).toBe(0);
    expect((await get("alpha", "http://10.96.99.99:8080/")).status).toBe(503);
  });

  test("the proxy's own ports lead nowhere, and never in a circle", async () => {
    for (const port of [15001, 15006]) {
      expect((await get("alpha", `http://localhost:${port}/`)).status).toBe(0);
      expect((await get("alpha", `http://${ip("alpha")}:${port}/`)).status).toBe(0);
      expect((await get("alpha", `http://${ip("beta")}:${port}/`)).status).toBe(0);
      const outside = await ask((c) => mesh().execOnNode(c), `http://${ip("beta")}:${port}/`);
      expect(outside.body).not.toContain(name("beta")); // an end, or 503
    }
    expect(await get("alpha", "http://beta:8080/")).toMatchObject({ status: 200 });
  });

  test("the host is reached by its name, and nothing there is an end", async () => {
    const server = createServer((_, response) => response.end('{"pod":"the host"}'));
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const url = `http://host.weft.internal:${(server.address() as AddressInfo).port}/`;
    expect(await get("alpha", url)).toMatchObject({ status: 200, pod: "the host" });
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
    expect((await get("alpha", url)).status).toBe(0);
  });

  test("weft apply: a new Service and a ServiceEntry are names at once, and are no more after weft delete", async () => {
    const server = createServer((_, response) => response.end('{"pod":"the host"}'));
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address() as AddressInfo;
    await mesh().apply(`
apiVersion: v1
kind: Service
metadata: { name: gamma, namespace: default }
spec: { selector: { app: beta }, ports: [{ port: 8080, name: http }] }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: legacy, namespace: default }
spec:
  hosts: [legacy.example]
  resolution: STATIC
  ports: [{ number: 8088, name: http, protocol: HTTP }]
  endpoints: [{ address: 10.244.255.254, ports: { http: ${port} } }]
`);
    const answers = (url: string) => expect.poll(() => get("alpha", url), { timeout: 10_000, interval: 20 });
    await answers("http://gamma:8080/").toMatchObject({ pod: name("beta"), identity: identityOf("alpha") });
    await answers("http://legacy.example:8088/").toMatchObject({ status: 200, pod: "the host" });
    await mesh().delete("Service", "gamma");
    await mesh().delete("ServiceEntry", "legacy");
    await expect
      .poll(() => mesh().exec(name("alpha"), ["getent", "hosts", "gamma", "legacy.example"]))
      .toMatchObject({ code: 2 });
    server.closeAllConnections();
    server.close();
  });

  test("the LoadBalancer port of the host leads through the proxy of the pod", async () => {
    const response = await fetch(mesh().gateway);
    expect(await response.json()).toMatchObject({ pod: name("alpha"), from: "127.0.0.6", identity: null });
  });
});
