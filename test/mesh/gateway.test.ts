/** The doors of the mesh: Istio's Gateway and the Gateway API's, samples of both unmodified, hosts, servers and filters. */
import { join } from "node:path";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { type Call, call, type Reply } from "#test/harness/call.ts";
import { onEachDataPlane } from "#test/harness/each-data-plane.ts";
import { sample } from "#test/harness/samples.ts";

const from = join(import.meta.dirname, "gateways");
const replace = { ECHO_MAIN: join(import.meta.dirname, "../harness/echo-main.ts") };
const SOON = { timeout: 10_000, interval: 10 };
const DOOR = "spiffe://cluster.local/ns/default/sa/door";

const ISTIO = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: doors }
spec:
  selector: { istio: ingressgateway }
  servers:
    - { port: { number: 80, name: http, protocol: HTTP }, hosts: [a.example, merged.example, "*.b.example", default/own.example, other/own.example] }
    - { port: { number: 80, name: http-away, protocol: HTTP }, hosts: [secure.example], tls: { httpsRedirect: true } }
    - { port: { number: 8081, name: http-other, protocol: HTTP }, hosts: [c.example] }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: wide }
spec:
  hosts: [a.example, x.b.example, b.example, c.example, own.example, secure.example, unlisted.example]
  gateways: [doors]
  http:
    - match: [{ uri: { prefix: /port }, port: 8081 }]
      directResponse: { status: 281 }
    - match: [{ uri: { prefix: /port }, port: 80 }]
      directResponse: { status: 280 }
    - match: [{ uri: { prefix: /gw }, gateways: [mesh] }]
      directResponse: { status: 299 }
    - match: [{ authority: { exact: x.b.example } }]
      headers: { request: { add: { x-rule: x-b } } }
      route: [{ destination: { host: httpbin, port: { number: 8000 } } }]
    - route: [{ destination: { host: httpbin, port: { number: 8000 } } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: narrow }
spec:
  hosts: [y.b.example]
  gateways: [doors]
  http: [{ directResponse: { status: 222 } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: any-b }
spec:
  hosts: ["*.b.example"]
  gateways: [doors]
  http: [{ directResponse: { status: 223 } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: merged-old, creationTimestamp: "2026-01-01T00:00:00Z" }
spec:
  hosts: [merged.example]
  gateways: [doors]
  http: [{ match: [{ uri: { prefix: / } }], directResponse: { status: 225 } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: merged-new, creationTimestamp: "2026-01-02T00:00:00Z" }
spec:
  hosts: [merged.example]
  gateways: [doors]
  http: [{ match: [{ uri: { prefix: /merged } }], directResponse: { status: 224 } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: silent }
spec:
  hosts: [z.b.example]
  gateways: [doors]
  http: [{ match: [{ sourceLabels: { app: nobody } }], directResponse: { status: 500 } }]
`;

const KUBE = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: httpbin-gateway }
spec:
  gatewayClassName: istio
  listeners:
    - { name: http, port: 80, protocol: HTTP }
    - { name: other, port: 8081, protocol: HTTP, hostname: "*.other.example" }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: main }
spec:
  parentRefs: [{ name: httpbin-gateway, sectionName: http }]
  hostnames: [main.example]
  rules:
    - matches: [{ path: { type: Exact, value: /exact } }]
      filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-rule, value: exact }] } }]
      backendRefs: [{ name: httpbin, port: 8000 }]
    - matches: [{ path: { type: PathPrefix, value: /prefix } }]
      filters:
        - { type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-rule, value: prefix }], add: [{ name: x-add, value: c }], remove: [x-secret] } }
        - { type: ResponseHeaderModifier, responseHeaderModifier: { set: [{ name: x-answer, value: "2" }], remove: [x-powered-by] } }
      backendRefs: [{ name: httpbin, port: 8000 }]
    - matches: [{ path: { type: PathPrefix, value: /prefix/longer } }]
      filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-rule, value: longer }] } }]
      backendRefs: [{ name: httpbin, port: 8000 }]
    - matches: [{ headers: [{ name: x-user, value: jason }], queryParams: [{ name: v, value: "1" }], method: POST }]
      filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-rule, value: all-of }] } }]
      backendRefs: [{ name: httpbin, port: 8000 }]
    - matches: [{ path: { value: /rewrite } }]
      filters: [{ type: URLRewrite, urlRewrite: { hostname: new.example, path: { type: ReplacePrefixMatch, replacePrefixMatch: /new } } }]
      backendRefs: [{ name: httpbin, port: 8000 }]
    - matches: [{ path: { value: /redirect } }]
      filters: [{ type: RequestRedirect, requestRedirect: { scheme: https, hostname: new.example, path: { type: ReplaceFullPath, replaceFullPath: /there }, statusCode: 301 } }]
    - matches: [{ path: { value: /moved } }]
      filters: [{ type: RequestRedirect, requestRedirect: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /here } } }]
    - matches: [{ path: { value: /unknown } }]
      backendRefs: [{ name: nowhere, port: 8000 }]
    - matches: [{ path: { value: /half } }]
      backendRefs: [{ name: nowhere, port: 8000 }, { name: httpbin, port: 8000 }]
    - matches: [{ path: { value: /empty } }]
      backendRefs: [{ name: empty, port: 8000 }]
    - matches: [{ path: { value: /nothing } }]
      backendRefs: []
    - matches: [{ path: { value: /never } }]
      backendRefs: [{ name: nowhere, port: 8000, weight: 0 }, { name: httpbin, port: 8000, weight: 1 }]
    - matches: [{ path: { value: /slow } }]
      timeouts: { request: 200ms }
      backendRefs: [{ name: httpbin, port: 8000 }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: other }
spec:
  parentRefs: [{ name: httpbin-gateway }]
  hostnames: [x.other.example, unserved.example]
  rules: [{ backendRefs: [{ name: httpbin, port: 8000 }] }]
---
${slashes("root.example", "/", "/anything")}
${slashes("xyz.example", "/foo", "/xyz/")}
${slashes("slash.example", "/foo/", "/xyz")}
${slashes("gone.example", "/foo", "/")}
${slashes("empty.example", "/foo", "")}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: secure }
spec:
  parentRefs: [{ name: httpbin-gateway, sectionName: http }]
  hostnames: [secure.example, "*.secure.example"]
  rules:
    - matches: [{ path: { value: /foo } }]
      filters: [{ type: RequestRedirect, requestRedirect: { scheme: https, path: { type: ReplacePrefixMatch, replacePrefixMatch: /xyz/ } } }]
    - filters: [{ type: RequestRedirect, requestRedirect: { scheme: https } }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: away }
spec:
  parentRefs: [{ name: httpbin-gateway, sectionName: other }]
  hostnames: [x.other.example]
  rules:
    - matches: [{ path: { value: /away } }]
      filters: [{ type: RequestRedirect, requestRedirect: { path: { type: ReplaceFullPath, replaceFullPath: /there } } }]
`;

/** An HTTPRoute that replaces the prefix for one host. */
function slashes(host: string, prefix: string, by: string): string {
  return `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: ${host} }
spec:
  parentRefs: [{ name: httpbin-gateway, sectionName: http }]
  hostnames: [${host}]
  rules:
    - matches: [{ path: { value: ${prefix} } }]
      filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: "${by}" } } }]
      backendRefs: [{ name: httpbin, port: 8000 }]
---`;
}

onEachDataPlane("gateway", { from, replace }, (mesh, { dataPlane }) => {
  let door = "";
  const get = (host: string, path = "/", more: Partial<Call> = {}): Promise<Reply> =>
    call({ host: door, port: 8080, path, ...more, headers: { host, ...more.headers } });
  const status = async (host: string, path = "/", more: Partial<Call> = {}): Promise<number> =>
    (await get(host, path, more)).status;

  describe("Istio's Gateway", () => {
    beforeAll(async () => {
      door = mesh().pod("ingress").podIp;
      await mesh().apply(ISTIO);
      await vi.waitUntil(async () => (await status("a.example").catch(() => 0)) === 200, SOON);
    });

    test("hosts: what a server lists, and no other", async () => {
      for (const host of ["a.example", "a.example:80", "A.Example", "x.b.example"])
        expect(await status(host), host).toBe(200);
      for (const host of ["b.example", "c.example", "unlisted.example", "a.example.evil", ""])
        expect(await get(host), host).toMatchObject({ status: 404, body: "" });
      expect(await status("own.example")).toBe(200);
    });

    test("the narrower host wins", async () => {
      expect((await get("x.b.example")).echoed?.headers["x-rule"]).toBe("x-b");
      expect(await status("y.b.example")).toBe(222);
      expect(await status("z.b.example")).toBe(223);
    });

    test("several VirtualServices of one host: what takes everything stands behind the others", async () => {
      expect(await status("merged.example", "/merged")).toBe(224);
      expect(await status("merged.example", "/other")).toBe(225);
    });

    test("several servers, each with its port, which rules can name", async () => {
      expect(await status("c.example", "/", { port: 8081 })).toBe(200);
      expect(await status("a.example", "/", { port: 8081 })).toBe(404);
      expect(await status("c.example", "/port", { port: 8081 })).toBe(281);
      expect(await status("a.example", "/port")).toBe(280);
      expect(await status("a.example", "/gw")).toBe(200);
    });

    test("httpsRedirect", async () => {
      const reply = await get("secure.example", "/a?q=1");
      expect(reply).toMatchObject({ status: 301, body: "" });
      expect(reply.headers.location).toBe("https://secure.example/a?q=1");
    });

    test("who calls from outside says nothing about himself: the gateway does", async () => {
      const claims = {
        "x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/default/sa/admin",
        "x-forwarded-for": "198.51.100.1",
        "x-forwarded-proto": "https",
        "x-envoy-peer-metadata": "x",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-decorator-operation": "x",
      };
      const { echoed, status } = await get("a.example", "/?delay=50", { headers: claims });
      expect(status).toBe(200);
      expect(echoed?.identity).toBe(DOOR);
      expect(JSON.stringify(echoed)).not.toContain("sa/admin");
      expect(echoed?.headers["x-forwarded-proto"]).toBe("http");
      // Envoy writes its machine's address for loopback.
      expect(echoed?.headers["x-forwarded-for"]).toMatch(/^198\.51\.100\.1, ?[\d.]+$/);
    });

    test("remoteIpBlocks behind a gateway: the client it names last, ipBlocks: the gateway", async () => {
      const from = { localAddress: "127.0.9.7" };
      const { echoed } = await get("a.example", "/", from);
      const client = String(echoed?.headers["x-forwarded-for"]);
      await mesh().apply(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: remote }
spec:
  selector: { matchLabels: { app: httpbin } }
  action: DENY
  rules:
    - { from: [{ source: { remoteIpBlocks: [${client}] } }], to: [{ operation: { paths: [/remote] } }] }
    - { from: [{ source: { notRemoteIpBlocks: [${client}] } }], to: [{ operation: { paths: [/not-remote] } }] }
    - { from: [{ source: { ipBlocks: [${client}] } }], to: [{ operation: { paths: [/peer] } }] }
`);
      await expect.poll(() => status("a.example", "/remote", from), SOON).toBe(403);
      const claim = { ...from, headers: { "x-forwarded-for": "198.51.100.1" } };
      // Again a wait: a connection that Envoy's gateway kept is judged by the rules of before until it has drained.
      await expect.poll(() => status("a.example", "/remote", claim), SOON).toBe(403);
      expect(await status("a.example", "/not-remote", claim)).toBe(200);
      expect(await status("a.example", "/peer", from)).toBe(200);
      await mesh().delete("AuthorizationPolicy", "remote");
    });

    test("httpbin-gateway.yaml, unmodified", async () => {
      await mesh().delete("Gateway", "doors");
      await mesh().apply(sample("httpbin/httpbin-gateway", dataPlane === "envoy"));
      await expect.poll(() => status("anything.example"), SOON).toBe(200);
      expect((await get("anything.example", "/status/418")).echoed).toMatchObject({
        service: "httpbin-0",
        path: "/status/418",
        identity: DOOR,
      });
    });
  });

  describe("the Gateway API's Gateway", () => {
    beforeAll(() => {
      door = mesh().pod("httpbin-gateway-istio").podIp;
    });
    const rule = async (path: string, more: Partial<Call> = {}) =>
      (await get("main.example", path, more)).echoed?.headers["x-rule"];

    test("httpbin-gateway.yaml, unmodified", async () => {
      await mesh().apply(sample("httpbin/gateway-api/httpbin-gateway", dataPlane === "envoy"));
      await expect.poll(() => status("anything.example").catch(() => 0), SOON).toBe(200);
      expect((await get("anything.example")).echoed).toMatchObject({
        service: "httpbin-0",
        identity: DOOR,
      });
      await mesh().delete("HTTPRoute", "httpbin");
      await expect.poll(() => status("anything.example"), SOON).toBe(404);
    });

    test("listeners: by port, by hostname, by sectionName", async () => {
      await mesh().apply(KUBE);
      await expect.poll(() => status("main.example").catch(() => 0), SOON).toBe(404);
      await expect.poll(() => status("x.other.example", "/", { port: 8081 }).catch(() => 0), SOON).toBe(200);
      expect(await status("x.other.example")).toBe(200);
      expect(await status("unserved.example", "/", { port: 8081 })).toBe(404);
      expect(await status("unserved.example")).toBe(200);
      expect(await status("main.example", "/exact", { port: 8081 })).toBe(404);
      expect(await status("y.other.example", "/", { port: 8081 })).toBe(404);
    });

    test("matches: exact before the longer prefix before the shorter; all of one match", async () => {
      expect(await rule("/exact")).toBe("exact");
      expect(await status("main.example", "/exact/")).toBe(404);
      expect(await rule("/prefix")).toBe("prefix");
      expect(await rule("/prefix/a")).toBe("prefix");
      expect(await status("main.example", "/prefixed")).toBe(404);
      expect(await rule("/prefix/longer/a")).toBe("longer");
      const post = { method: "POST", headers: { "x-user": "jason" } };
      expect(await rule("/any?v=1", post)).toBe("all-of");
      expect(await status("main.example", "/any?v=2", post)).toBe(404);
      expect(await status("main.example", "/any?v=1", { ...post, method: "PUT" })).toBe(404);
      expect(await status("main.example", "/any?v=1", { method: "POST" })).toBe(404);
    });

    test("filters: headers, rewrite, redirect", async () => {
      const { echoed, headers } = await get("main.example", "/prefix", {
        headers: { "x-add": "a", "x-secret": "s" },
      });
      expect(echoed?.headers).toMatchObject({ "x-add": expect.stringMatching(/^a, ?c$/) });
      expect(echoed?.headers).not.toHaveProperty("x-secret");
      expect(headers).toMatchObject({ "x-answer": "2" });
      expect(headers).not.toHaveProperty("x-powered-by");
      expect((await get("main.example", "/rewrite/a?q=1")).echoed).toMatchObject({
        path: "/new/a?q=1",
        headers: { host: "new.example" },
      });
      const redirect = await get("main.example", "/redirect/a");
      expect(redirect.status).toBe(301);
      expect(redirect.headers.location).toBe("https://new.example/there");
      const moved = await get("main.example", "/moved/a?q=1");
      expect(moved.status).toBe(302);
      expect(moved.headers.location).toBe("http://main.example/here/a?q=1");
    });

    test.for([
      ["root.example", "/get", "/anything/get"],
      ["root.example", "/", "/anything/"],
      ["root.example", "/get?a=/b", "/anything/get?a=/b"],
      ["xyz.example", "/foo/bar", "/xyz/bar"],
      ["xyz.example", "/foo/bar?q=1", "/xyz/bar?q=1"],
      ["xyz.example", "/foo", "/xyz"],
      ["xyz.example", "/foo?q=1", "/xyz?q=1"],
      ["xyz.example", "/foo/", "/xyz/"],
      ["slash.example", "/foo/bar", "/xyz/bar"],
      ["slash.example", "/foo", "/xyz"],
      ["gone.example", "/foo/bar", "/bar"],
      ["gone.example", "/foo/", "/"],
      ["gone.example", "/foo", "/"],
      ["gone.example", "/foo?q=1", "/?q=1"],
      ["empty.example", "/foo/bar", "/bar"],
      ["empty.example", "/foo", "/"],
    ] as const)(
      "ReplacePrefixMatch keeps the slashes right: %s %s is %s",
      async ([host, path, rewritten]) => {
        expect((await get(host, path)).echoed?.path).toBe(rewritten);
      },
    );

    test("redirects: the port of the scheme, the listener's without one; 80 and 443 are not shown", async () => {
      const location = async (host: string, path: string, more: Partial<Call> = {}) =>
        (await get(host, path, more)).headers.location ?? "";
      expect(await location("secure.example:8080", "/a?q=1")).toBe("https://secure.example/a?q=1");
      expect(await location("secure.example", "/foo/bar")).toBe("https://secure.example/xyz/bar");
      expect(await location("a.secure.example", "/a")).toBe("https://a.secure.example/a");
      // Envoy cannot take a port away from a host that it does not know beforehand: there it says the new one.
      expect(await location("a.secure.example:8080", "/a")).toMatch(
        /^https:\/\/a\.secure\.example(:443)?\/a$/,
      );
      const other = { port: 8081 };
      expect(await location("x.other.example", "/away", other)).toBe("http://x.other.example:8081/there");
      expect(await location("x.other.example:9999", "/away", other)).toBe(
        "http://x.other.example:8081/there",
      );
    });

    test("backends: unknown is 500, without endpoints 503, weight 0 never", async () => {
      expect(await status("main.example", "/unknown")).toBe(500);
      expect(await status("main.example", "/nothing")).toBe(500);
      expect(await get("main.example", "/empty")).toMatchObject({ status: 503, body: "no healthy upstream" });
      for (let i = 0; i < 20; i++) expect(await status("main.example", "/never")).toBe(200);
      const count = 100;
      let failed = 0;
      for (let i = 0; i < count; i++) if ((await status("main.example", "/half")) === 500) failed++;
      expect(Math.abs(failed - count / 2)).toBeLessThanOrEqual(3 * Math.sqrt(count / 4));
    });

    test("timeouts.request", async () => {
      expect(await get("main.example", "/slow?delay=5000")).toMatchObject({
        status: 504,
        body: "upstream request timeout",
      });
      expect(await status("main.example", "/slow")).toBe(200);
    });
  });
});
