/** What a VirtualService says, said to a real client by both data planes: same answers, same texts. */

import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import { type Call, call, type Reply } from "#test/harness/call.ts";
import { onEachDataPlane } from "#test/harness/each-data-plane.ts";

/** What a rule takes goes to v1 (or is answered), all else to v2. */
const RULES = String.raw`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: echo }
spec:
  hosts: [echo]
  http:
    - match:
        - uri: { exact: /exact }
        - uri: { prefix: /prefix }
        - uri: { regex: "/regex/[a-z]+" }
        - uri: { exact: /CASE }
          ignoreUriCase: true
        - uri: { prefix: /header }
          headers: { x-user: { exact: jason } }
        - uri: { prefix: /header }
          headers: { x-user: { prefix: root- } }
        - uri: { prefix: /header }
          headers: { x-user: { regex: "[0-9]+" } }
        - uri: { prefix: /present }
          headers: { x-user: {} }
        - uri: { prefix: /without }
          withoutHeaders: { x-user: { exact: jason } }
        - uri: { prefix: /absent }
          withoutHeaders: { x-user: {} }
        - uri: { prefix: /query }
          queryParams: { v: { exact: "1" } }
        - uri: { prefix: /query }
          queryParams: { r: { regex: "[a-z]+" } }
        - uri: { prefix: /method }
          method: { exact: DELETE }
        - uri: { prefix: /both }
          method: { exact: PUT }
          headers: { x-user: { exact: jason } }
        - uri: { prefix: /from }
          sourceLabels: { app: client }
      route: [{ destination: { host: echo, subset: v1, port: { number: 8080 } } }]
    - match: [{ uri: { prefix: /split } }]
      route:
        - { destination: { host: echo, subset: v1, port: { number: 8080 } }, weight: 75 }
        - { destination: { host: echo, subset: v2, port: { number: 8080 } }, weight: 25 }
    - match: [{ uri: { prefix: /rewrite/ } }]
      rewrite: { uri: /new/, authority: other.example }
      route: [{ destination: { host: echo, subset: v1, port: { number: 8080 } } }]
    - match: [{ uri: { prefix: /authority } }]
      headers: { request: { set: { Host: named.example, x-with: host } } }
      route: [{ destination: { host: echo, subset: v1, port: { number: 8080 } } }]
    - match: [{ uri: { prefix: /of-destination } }]
      route:
        - destination: { host: echo, subset: v1, port: { number: 8080 } }
          headers: { request: { set: { ":authority": named.example } } }
    - match: [{ uri: { exact: /rewrite-exact } }]
      rewrite: { uri: /whole }
      route: [{ destination: { host: echo, subset: v1, port: { number: 8080 } } }]
    - match: [{ uri: { prefix: /rewrite-regex } }]
      rewrite: { uriRegexRewrite: { match: "/rewrite-regex/(\\w+)/(\\w+)", rewrite: '/\2/\1' } }
      route: [{ destination: { host: echo, subset: v1, port: { number: 8080 } } }]
    - match: [{ uri: { prefix: /redirect } }]
      redirect: { uri: /elsewhere, authority: other.example, redirectCode: 308 }
    - match: [{ uri: { prefix: /moved } }]
      redirect: { authority: other.example, scheme: https }
    - match: [{ uri: { prefix: /direct } }]
      directResponse: { status: 418, body: { string: "short and stout" } }
      headers: { response: { set: { content-type: text/plain } } }
    - match: [{ uri: { prefix: /nobody } }]
      directResponse: { status: 404 }
    - match: [{ uri: { prefix: /headers } }]
      headers:
        request: { set: { x-set: "1", x-other: b }, add: { x-add: c }, remove: [x-secret] }
        response: { set: { x-answer: "2", content-type: text/plain }, add: { x-more: d }, remove: [x-powered-by] }
      route:
        - destination: { host: echo, subset: v1, port: { number: 8080 } }
          headers: { request: { add: { x-weighted: e } }, response: { add: { x-weighted: f } } }
    - match: [{ uri: { prefix: /formats } }]
      headers:
        request:
          set:
            x-percent: "50%%"
            x-name: "%HOSTNAME%"
            x-caller: "%REQ(x-user)%"
            x-either: "%REQ(x-none?x-user)%"
            x-short: "%REQ(x-user):3%"
            x-missing: "%REQ(x-none)%"
            x-between: "a%REQ(x-none)%b"
            x-target: "%REQ(:method)% %REQ(:authority)% %PROTOCOL%"
            x-local: "%DOWNSTREAM_LOCAL_PORT%"
            x-kept: ""
            x-umlaut: "Grüße"
        response: { set: { x-percent: "%%1%%", x-caller: "%REQ(x-user)%" } }
      route: [{ destination: { host: echo, subset: v1, port: { number: 8080 } } }]
    - match: [{ uri: { prefix: /long } }]
      timeout: 8760h
      retries: { attempts: 1, perTryTimeout: 2562047h }
      route: [{ destination: { host: echo, subset: v1, port: { number: 8080 } } }]
    - match: [{ uri: { prefix: /late } }]
      fault: { delay: { fixedDelay: 0.3s } }
      route: [{ destination: { host: echo, subset: v1, port: { number: 8080 } } }]
    - match: [{ uri: { prefix: /abort } }]
      fault: { abort: { httpStatus: 555 } }
      route: [{ destination: { host: echo, subset: v1, port: { number: 8080 } } }]
    - match: [{ uri: { prefix: /sometimes } }]
      fault: { abort: { httpStatus: 555, percentage: { value: 50 } } }
      route: [{ destination: { host: echo, subset: v1, port: { number: 8080 } } }]
    - match: [{ uri: { prefix: /timeout } }]
      timeout: 0.2s
      route: [{ destination: { host: echo, subset: v1, port: { number: 8080 } } }]
    - match: [{ uri: { prefix: /retry-503 } }]
      retries: { attempts: 2, retryOn: "503" }
      route: [{ destination: { host: echo, port: { number: 8080 } } }]
    - match: [{ uri: { prefix: /retry-5xx } }]
      retries: { attempts: 2, retryOn: 5xx }
      route: [{ destination: { host: echo, port: { number: 8080 } } }]
    - match: [{ uri: { prefix: /retry-slow } }]
      retries: { attempts: 2, perTryTimeout: 0.2s, retryOn: gateway-error }
      route: [{ destination: { host: echo, port: { number: 8080 } } }]
    - match: [{ uri: { prefix: /retry-never } }]
      retries: { attempts: 0 }
      route: [{ destination: { host: echo, port: { number: 8080 } } }]
    - match: [{ uri: { prefix: /default } }]
      route: [{ destination: { host: echo, port: { number: 8080 } } }]
    - match: [{ uri: { prefix: /no-endpoints } }]
      route: [{ destination: { host: echo, subset: v9, port: { number: 8080 } } }]
    - match: [{ uri: { prefix: /no-subset } }]
      route: [{ destination: { host: echo, subset: undeclared, port: { number: 8080 } } }]
    - match: [{ uri: { prefix: /no-service } }]
      route: [{ destination: { host: nowhere, port: { number: 8080 } } }]
    - route: [{ destination: { host: echo, subset: v2, port: { number: 8080 } } }]
`;

const bytesOf = (text: string): string => Buffer.from(text).toString("latin1");

const from = join(import.meta.dirname, "echo");
const replace = { ECHO_MAIN: join(import.meta.dirname, "../harness/echo-main.ts") };

/** Of the service client: what its only rules say is said to others. */
const FOR_OTHERS = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: for-others }
spec:
  hosts: [client]
  http: [{ match: [{ sourceLabels: { app: nobody } }], directResponse: { status: 500 } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: front }
spec:
  hosts: [front.example]
  http:
    - match: [{ uri: { exact: /front } }, { uri: { prefix: /part/ } }]
      delegate: { name: front-part }
      timeout: 0.2s
      headers: { request: { set: { x-from: root } }, response: { set: { x-from: root } } }
    - route: [{ destination: { host: echo, subset: v2, port: { number: 8080 } } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: front-part }
spec:
  http:
    - match: [{ uri: { exact: /front } }]
      route: [{ destination: { host: echo, subset: v1, port: { number: 8080 } } }]
    - match: [{ uri: { prefix: /outside } }]
      directResponse: { status: 500 }
    - match: [{ uri: { prefix: /part/own } }]
      headers: { request: { set: { x-from: delegate } } }
      timeout: 5s
      route: [{ destination: { host: echo, subset: v1, port: { number: 8080 } } }]
`;

onEachDataPlane("routing", { from, replace, modes: ["explicit", "transparent"] }, (mesh, { mode }) => {
  const testExplicit = mode === "explicit" ? test : (): void => {};
  let host = "";
  beforeAll(async () => {
    await mesh().apply(RULES);
    await mesh().apply(FOR_OTHERS);
    host = await mesh().addressOf("echo", "client");
  });

  const get = (path: string, more: Partial<Call> = {}): Promise<Reply> =>
    call({ host, port: 8080, path, ...more, headers: { host: "echo:8080", ...more.headers } });
  /** "v1", "v2", or the status of what was not answered by either. */
  async function who(path: string, more: Partial<Call> = {}): Promise<string> {
    const { echoed, status } = await get(path, more);
    return /^echo-(v\d)/.exec(echoed?.service ?? "")?.[1] ?? String(status);
  }

  /** The pod's HTTP proxy port. */
  const proxy = () => ({ host: host.replace(/\d+\.\d+$/, "0.1"), port: 15001 });
  const user = (name: string): Partial<Call> => ({ headers: { "x-user": name } });
  test.for<[string, Partial<Call>, string]>([
    ["/exact", {}, "v1"],
    ["/exact?q=1", {}, "v1"],
    ["/exact/", {}, "v2"],
    ["/Exact", {}, "v2"],
    ["/prefix", {}, "v1"],
    ["/prefix/deep", {}, "v1"],
    ["/prefixed", {}, "v1"],
    ["/regex/abc", {}, "v1"],
    ["/regex/abc?q=1", {}, "v1"],
    ["/regex/abc1", {}, "v2"],
    ["/case", {}, "v1"],
    ["/header", {}, "v2"],
    ["/header", user("jason"), "v1"],
    ["/header", user("Jason"), "v2"],
    ["/header", user("root-3"), "v1"],
    ["/header", user("123"), "v1"],
    ["/header", user("123a"), "v2"],
    ["/present", user(""), "v1"],
    ["/present", {}, "v2"],
    ["/without", user("jason"), "v2"],
    ["/without", user("mary"), "v1"],
    ["/without", {}, "v1"],
    ["/absent", user("mary"), "v2"],
    ["/absent", {}, "v1"],
    ["/query?v=1", {}, "v1"],
    ["/query?x=2&v=1", {}, "v1"],
    ["/query?v=12", {}, "v2"],
    ["/query?r=abc", {}, "v1"],
    ["/query?r=1", {}, "v2"],
    ["/query", {}, "v2"],
    ["/method", { method: "DELETE" }, "v1"],
    ["/method", {}, "v2"],
    ["/both", { method: "PUT", ...user("jason") }, "v1"],
    ["/both", { method: "PUT" }, "v2"],
    ["/both", user("jason"), "v2"],
    ["/from", {}, "v1"],
    ["/else", {}, "v2"],
    ["/a/../exact", {}, "v1"],
    ["//exact", {}, "v2"],
  ])("match: %s %o goes to %s", async ([path, more, expected]) => {
    expect(await who(path, more)).toBe(expected);
  });

  test("a policy whose rules all concern other clients leaves the service's default", async () => {
    const client = await mesh().addressOf("client", "echo-v1");
    const reply = await call({ host: client, port: 8080, path: "/", headers: { host: "client:8080" } });
    expect(reply.status).toBe(200);
  });

  test("a delegate's rules lie inside the root's match, and have from it what they do not set", async () => {
    const at = (path: string) => get(path, { headers: { host: "front.example:8080" } });
    const front = await at("/front");
    expect(front.echoed).toMatchObject({ path: "/front", headers: { "x-from": "root" } });
    expect(front.echoed?.service).toMatch(/^echo-v1/);
    expect(front.headers["x-from"]).toBe("root");
    expect((await at("/front?delay=5000")).status).toBe(504);
    const own = await at("/part/own?delay=400");
    expect(own.echoed?.headers["x-from"]).toBe("delegate");
    expect(own.headers).not.toHaveProperty("x-from");
    expect((await at("/outside")).echoed?.service).toMatch(/^echo-v2/);
  });

  // One run in 370 lies outside of 3 sigma by right, hence the retry.
  test("weights: 75/25 within 3 sigma", { retry: 1 }, async () => {
    const count = 400;
    let first = 0;
    for (let i = 0; i < count; i++) if ((await who("/split")) === "v1") first++;
    expect(Math.abs(first - count * 0.75)).toBeLessThanOrEqual(3 * Math.sqrt(count * 0.75 * 0.25));
  });

  describe("the request is changed", () => {
    test("rewrite: prefix, whole path and regex; the query stays", async () => {
      const prefix = await get("/rewrite/a?q=1");
      expect(prefix.echoed).toMatchObject({ path: "/new/a?q=1", headers: { host: "other.example" } });
      expect((await get("/rewrite-exact?q=1")).echoed).toMatchObject({ path: "/whole?q=1" });
      expect((await get("/rewrite-regex/a/b?q=1")).echoed).toMatchObject({ path: "/b/a?q=1" });
    });

    test.each(["/authority", "/of-destination"])(
      "headers.request.set of Host is the authority: %s",
      async (path) => {
        const { status, echoed } = await get(path);
        expect([status, echoed?.headers["host"]]).toEqual([200, "named.example"]);
      },
    );

    test("headers: set, add and remove, of the route and of the destination", async () => {
      const { echoed, headers } = await get("/headers", {
        headers: { "x-set": "0", "x-add": "a", "x-secret": "s" },
      });
      expect(echoed?.headers).toMatchObject({
        "x-set": "1",
        "x-other": "b",
        "x-add": "a, c",
        "x-weighted": "e",
      });
      expect(echoed?.headers).not.toHaveProperty("x-secret");
      expect(headers).toMatchObject({
        "x-answer": "2",
        "content-type": "text/plain",
        "x-more": "d",
        "x-weighted": "f",
      });
      expect(headers).not.toHaveProperty("x-powered-by");
    });
  });

  test("a value of headers is Envoy's format: %% is a percent, commands mean the same on both", async () => {
    const { echoed, headers } = await get("/formats", { headers: { "x-user": "jason", "x-kept": "0" } });
    expect(echoed?.headers).toMatchObject({
      "x-percent": "50%",
      "x-name": hostname(),
      "x-caller": "jason",
      "x-either": "jason",
      "x-short": "jas",
      "x-between": "ab",
      "x-target": "GET echo:8080 HTTP/1.1",
      "x-kept": "0",
      // Two bytes for a letter; echo writes each byte as a letter, and call reads what it wrote as bytes.
      "x-umlaut": bytesOf(bytesOf("Grüße")),
    });
    expect(echoed?.headers).not.toHaveProperty("x-missing");
    expect(headers).toMatchObject({ "x-percent": "%1%", "x-caller": "jason" });
  });

  test("a timeout of a year is no timeout at once", async () => {
    expect(await who("/long?delay=50")).toBe("v1");
  });

  describe("the proxy answers", () => {
    test("redirect", async () => {
      const redirect = await get("/redirect/a?q=1");
      expect(redirect).toMatchObject({ status: 308, body: "" });
      expect(redirect.headers.location).toBe("http://other.example/elsewhere?q=1");
      const moved = await get("/moved/a?q=1");
      expect(moved).toMatchObject({ status: 301, body: "" });
      expect(moved.headers.location).toBe("https://other.example/moved/a?q=1");
    });

    test("direct response", async () => {
      const direct = await get("/direct");
      expect(direct).toMatchObject({ status: 418, body: "short and stout" });
      expect(direct.headers["content-type"]).toBe("text/plain");
      expect(await get("/nobody")).toMatchObject({ status: 404, body: "" });
      const head = await get("/direct", { method: "HEAD" });
      expect(head).toMatchObject({ status: 418, body: "" });
      expect(head.headers["content-length"]).toBe("15");
    });

    test("fault: abort", async () => {
      expect(await get("/abort")).toMatchObject({ status: 555, body: "fault filter abort" });
      const count = 100;
      let aborted = 0;
      for (let i = 0; i < count; i++) if ((await get("/sometimes")).status === 555) aborted++;
      expect(Math.abs(aborted - count / 2)).toBeLessThanOrEqual(3 * Math.sqrt(count / 4));
    });

    test("fault: delay", async () => {
      const begin = performance.now();
      expect(await who("/late")).toBe("v1");
      expect(performance.now() - begin).toBeGreaterThanOrEqual(299);
    });

    test("timeout", async () => {
      expect(await get("/timeout?delay=5000")).toMatchObject({
        status: 504,
        body: "upstream request timeout",
      });
      expect(await who("/timeout")).toBe("v1");
    });

    test.for([
      ["/no-endpoints", 503, "no healthy upstream"],
      ["/no-subset", 503, ""],
      ["/no-service", 503, ""],
    ] as const)("%s: %d %s", async ([path, status, body]) => {
      expect(await get(path)).toMatchObject({ status, body });
    });

    testExplicit("a host that nobody has: passed through, which leads nowhere", async () => {
      const nowhere = { headers: { host: "nowhere.example:8080" } };
      const answer = { status: 503, body: "no healthy upstream" };
      expect(await get("/", nowhere)).toMatchObject(answer);
      expect(await get("http://nowhere.example:8080/", { ...nowhere, ...proxy() })).toMatchObject({
        status: 503,
      });
    });

    testExplicit("the HTTP proxy port: absolute form, by every name of the service", async () => {
      for (const name of ["echo", "echo.default", "echo.default.svc", "echo.default.svc.cluster.local"]) {
        const request = { ...proxy(), headers: { host: `${name}:8080` } };
        expect(await who(`http://${name}:8080/exact`, request)).toBe("v1");
        expect(await who(`http://${name}:8080/else`, request)).toBe("v2");
      }
    });
  });

  describe.runIf(mode === "explicit")("what a program does that knows of the HTTP proxy alone", () => {
    testExplicit("CONNECT to a service: what comes through the tunnel meets its routes", async () => {
      for (const name of ["echo", "echo.default.svc.cluster.local"]) {
        const { socket, status } = await connectThrough(proxy(), `${name}:8080`);
        expect(status).toBe(200);
        for (const [path, version] of [
          ["/exact", "v1"],
          ["/else", "v2"],
          ["/exact", "v1"],
        ] as const) {
          socket.write(`GET ${path} HTTP/1.1\r\nHost: ${name}:8080\r\n\r\n`);
          expect(String((await once(socket, "data"))[0])).toMatch(new RegExp(`"service":"echo-${version}-`));
        }
        socket.destroy();
      }
    });

    testExplicit("CONNECT to a TCP service", async () => {
      const { socket, status } = await connectThrough(proxy(), "echo:9000");
      expect(status).toBe(200);
      socket.write("bytes");
      expect(String((await once(socket, "data"))[0])).toBe("bytes");
      socket.destroy();
    });

    testExplicit("Node's fetch", async () => {
      const { host, port } = proxy();
      const script = `fetch("http://echo:8080/exact").then(async (r) => console.log(r.status, (await r.json()).service.slice(0, 7)))`;
      const { stdout } = await promisify(execFile)(process.execPath, ["-e", script], {
        env: { PATH: process.env["PATH"], NODE_USE_ENV_PROXY: "1", HTTP_PROXY: `http://${host}:${port}` },
      });
      expect(stdout.trim()).toBe("200 echo-v1");
    });

    testExplicit("hosts outside of the mesh: by an absolute target and through a tunnel", async () => {
      const outside = createServer((request, response) => void response.end(`outside ${request.url}`));
      outside.listen(0, "127.0.0.1");
      await once(outside, "listening");
      const { port } = outside.address() as AddressInfo;
      const headers = { host: `localhost:${port}` };
      expect(await get(`http://localhost:${port}/a?b=c`, { ...proxy(), headers })).toMatchObject({
        status: 200,
        body: "outside /a?b=c",
      });
      const { socket, status } = await connectThrough(proxy(), `localhost:${port}`);
      expect(status).toBe(200);
      socket.write(`GET /tunnel HTTP/1.1\r\nHost: localhost:${port}\r\nConnection: close\r\n\r\n`);
      expect(String((await once(socket, "data"))[0])).toContain("outside /tunnel");
      socket.destroy();
      outside.close();
      outside.closeAllConnections();
    });

    testExplicit("a tunnel to a port that nobody listens on is 503", async () => {
      expect((await connectThrough(proxy(), "localhost:1")).status).toBe(503);
    });
  });

  describe("retries", () => {
    let cases = 0;
    /** One request with a name of its own: its answer and how often each version saw it. */
    async function counted(path: string, more: Partial<Call> = {}) {
      const name = `case-${++cases}`;
      const reply = await get(path, { ...more, headers: { "x-case": name } });
      const executed: Record<string, number> = {};
      for (const version of ["v1", "v2"]) {
        const app = await mesh().appAddress(`echo-${version}`);
        const seen = await call({ host: app, port: 8080, path: "/.cases" });
        executed[version] = (JSON.parse(seen.body) as Record<string, number>)[name] ?? 0;
      }
      return { reply, executed };
    }
    /** Repeats until v1 was met first, which the load balancer decides. */
    async function onV1(path: string, more: Partial<Call> = {}) {
      for (let i = 0; i < 50; i++) {
        const result = await counted(path, more);
        if (result.executed["v1"]! > 0) return result;
      }
      throw new Error("v1 was never asked");
    }

    test("retryOn 503: GET goes to the other host", async () => {
      const { reply, executed } = await onV1("/retry-503?status=503&on=echo-v1");
      expect(reply.status).toBe(200);
      expect(executed).toEqual({ v1: 1, v2: 1 });
    });

    test("retryOn 503 leaves 502 alone", async () => {
      const { reply, executed } = await onV1("/retry-503?status=502&on=echo-v1");
      expect(reply.status).toBe(502);
      expect(executed).toEqual({ v1: 1, v2: 0 });
    });

    test("every host answers 503: three attempts, and the last answer", async () => {
      const { reply, executed } = await counted("/retry-503?status=503");
      expect(reply.status).toBe(503);
      expect(executed["v1"]! + executed["v2"]!).toBe(3);
    });

    test("retryOn 5xx: what ends without an answer is a 503 of the sidecar beside it", async () => {
      const { reply, executed } = await onV1("/retry-5xx?close=1&on=echo-v1");
      expect(reply.status).toBe(200);
      expect(executed).toEqual({ v1: 1, v2: 1 });
    });

    test("perTryTimeout: a slow host is left for the other", async () => {
      const { reply, executed } = await onV1("/retry-slow?delay=5000&on=echo-v1");
      expect(reply.status).toBe(200);
      expect(executed).toEqual({ v1: 1, v2: 1 });
    });

    test.for(["GET", "POST"])(
      "%s is never executed twice by default, whatever happens to it",
      async (method) => {
        const body = method === "POST" ? "once" : "";
        for (const path of ["/default?close=1", "/default?status=503", "/retry-never?close=1"]) {
          const { reply, executed } = await counted(path, { method, body });
          expect(reply.status).toBe(503);
          expect(executed["v1"]! + executed["v2"]!, path).toBe(1);
        }
      },
    );
  });
});

async function connectThrough(proxy: { host: string; port: number }, authority: string) {
  const socket = connect({ ...proxy, allowHalfOpen: true });
  socket.on("error", () => {});
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
  const [head] = (await once(socket, "data")) as [Buffer];
  return { socket, status: Number(/^HTTP\/1\.1 (\d+) /.exec(String(head))?.[1]) };
}
