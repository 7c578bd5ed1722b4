/**
 * Whatever a control plane writes into header mutations, rewrites, redirects, direct responses and faults: it is refused, or
 * one well-formed message leaves each side, with one Host and one framing of ours.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Backend } from "./backend.ts";
import { talk } from "./client.ts";
import { type PlaneOptions, startPlane } from "./plane.ts";

type VirtualHosts = NonNullable<PlaneOptions["virtualHosts"]>;
type RouteInit = NonNullable<VirtualHosts[number]["routes"]>[number];
type ForwardInit = Extract<NonNullable<RouteInit["action"]>, { case: "route" }>["value"];

let backend: Backend;
beforeAll(async () => {
  backend = await new Backend().listen();
  backend.reply = (_request, { socket }) =>
    void socket.write("HTTP/1.1 200 OK\r\nServer: app\r\nContent-Length: 2\r\n\r\nhi");
});
afterAll(() => backend.close());

const prefix = (value: string): RouteInit["match"] => ({ pathSpecifier: { case: "prefix", value } });
const forward = (value: object): RouteInit["action"] => ({
  case: "route",
  value: { clusterSpecifier: { case: "cluster", value: "backend" }, ...value } as ForwardInit,
});
const header = (key: string, value: string, appendAction = 0) => ({ header: { key, value }, appendAction });
const literal = (value: string) => ({ hostRewriteSpecifier: { case: "hostRewriteLiteral" as const, value } });

const POST =
  "POST /a/b?q=1 HTTP/1.1\r\nHost: a\r\nX-From: me\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";

/** What the client and the backend saw; null if the configuration was refused. */
async function ask(route: Partial<RouteInit>, request = POST) {
  const routes = [{ match: prefix("/a"), action: forward({}), ...route } as RouteInit];
  let plane: Awaited<ReturnType<typeof startPlane>>;
  try {
    plane = await startPlane({
      backendPort: backend.port,
      virtualHosts: [{ name: "v", domains: ["*"], routes }],
    });
  } catch (error) {
    return String(error);
  }
  backend.reset();
  const answer = await talk(plane.port, [Buffer.from(request)]);
  await plane.stop();
  expect(backend.faults).toEqual([]);
  expect(answer).toMatchObject({ rest: "", end: "fin" });
  expect(answer.answers).toHaveLength(1);
  expect(backend.requests.length).toBeLessThanOrEqual(1);
  const [seen] = backend.requests;
  if (seen !== undefined) expect(seen).toMatchObject({ method: "POST", body: "hello" });
  return { seen, answer: answer.answers[0]! };
}
async function asked(route: Partial<RouteInit>, request?: string) {
  const got = await ask(route, request);
  if (typeof got === "string") throw new Error(got);
  return got;
}
const valuesOf = (fields: readonly (readonly [string, string])[] | undefined, name: string): string[] =>
  (fields ?? []).filter(([key]) => key === name).map(([, value]) => value);

const CODEC = [
  ["Content-Length", "3"],
  ["Transfer-Encoding", "chunked"],
  ["Connection", "close, x-from"],
  ["Keep-Alive", "timeout=1"],
  ["Proxy-Connection", "keep-alive"],
  ["Upgrade", "websocket"],
  ["TE", "trailers"],
  ["Trailer", "x-from"],
  ["Expect", "100-continue"],
] as const;

describe.each(CODEC)("%s belongs to the codec", (name, value) => {
  test.each([
    ["added", { add: [header(name, value)], remove: [] }],
    ["set", { add: [header(name, value, 2)], remove: [] }],
    ["removed", { add: [], remove: [name] }],
  ])("%s to requests and responses: nothing changes", async (_how, { add, remove }) => {
    const plain = await asked({});
    const changed = await asked({
      requestHeadersToAdd: add,
      requestHeadersToRemove: remove,
      responseHeadersToAdd: add,
      responseHeadersToRemove: remove,
    });
    expect(changed.seen).toEqual(plain.seen);
    expect(changed.answer.fields.replace(/date: .*\r\n/, "")).toBe(
      plain.answer.fields.replace(/date: .*\r\n/, ""),
    );
    const direct = {
      case: "directResponse" as const,
      value: { status: 200, body: { specifier: { case: "inlineString" as const, value: "direct" } } },
    };
    const own = await asked({ action: direct, responseHeadersToAdd: add, responseHeadersToRemove: remove });
    expect(own.answer.body).toBe("direct");
  });
});

describe("refused when the configuration comes", () => {
  const NAMES = ["", "x y", "x:y", "x\r\ny", "x\0", "é", ":path", ":authority", "Host", "host", "x\t", "(x)"];
  test.each(NAMES)("the header name %j", async (name) => {
    for (const route of [
      { requestHeadersToAdd: [header(name, "v")] },
      { responseHeadersToAdd: [header(name, "v")] },
      { requestHeadersToRemove: [name] },
      { responseHeadersToRemove: [name] },
    ])
      expect(await ask(route)).toMatch(/header name|may not be modified/);
  });

  test.each(["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b"])("the text %j, wherever it stands", async (text) => {
    const redirect = (value: object) => ({
      action: { case: "redirect" as const, value } as RouteInit["action"],
    });
    for (const route of [
      { requestHeadersToAdd: [header("x", text)] },
      { responseHeadersToAdd: [header("x", text)] },
      { action: forward({ prefixRewrite: `/${text}` }) },
      { action: forward({ regexRewrite: { pattern: { regex: "^/a" }, substitution: text } }) },
      { action: forward(literal(text)) },
      redirect({ hostRedirect: text }),
      redirect({ pathRewriteSpecifier: { case: "pathRedirect", value: text } }),
      redirect({ pathRewriteSpecifier: { case: "prefixRewrite", value: text } }),
      redirect({ schemeRewriteSpecifier: { case: "schemeRedirect", value: text } }),
    ])
      expect(await ask(route)).toMatch(/CR, LF or NUL|is no host/);
  });

  test.each(["a b", "a/b", "user@a", "a:99999", "a,b", "[::1", "a?b", "é"])("the host %j", async (host) => {
    expect(await ask({ action: forward(literal(host)) })).toMatch(/is no host/);
  });

  test.each([0, 100, 101, 199, 600, 1000])("the status %d", async (status) => {
    expect(await ask({ action: { case: "directResponse", value: { status } } })).toMatch(/200 and 599/);
  });
});

test("a rewritten host is the only one", async () => {
  const { seen } = await asked({ action: forward(literal("other.example:8080")) });
  expect(valuesOf(seen?.fields, "host")).toEqual(["other.example:8080"]);
});

test.each([
  ["^/a/b", "", "/?q=1"],
  ["^/a", "", "/b?q=1"],
  ["^/", "", "/a/b?q=1"],
  ["^/.*", "plain", "/plain?q=1"],
  ["b$", "x y#z", "/a/x%20y%23z?q=1"],
  ["b$", "é", "/a/%C3%A9?q=1"],
])("regex_rewrite of %s to %j: %s", async (regex, substitution, target) => {
  const { seen } = await asked({ action: forward({ regexRewrite: { pattern: { regex }, substitution } }) });
  expect(seen?.target).toBe(target);
});

test.each([
  ["/x y", "/x%20y/b?q=1"],
  ["x", "/x/b?q=1"],
  ["/#x", "/%23x/b?q=1"],
  ["/é\u{1F600}", "/%C3%A9%F0%9F%98%80/b?q=1"],
])("prefix_rewrite to %j: %s", async (prefixRewrite, target) => {
  expect((await asked({ action: forward({ prefixRewrite }) })).seen?.target).toBe(target);
});

test("a rewrite that grows over what a next hop takes is 500 here", async () => {
  const rewrite = { regexRewrite: { pattern: { regex: "x" }, substitution: "y".repeat(1000) } };
  const long = POST.replace("/a/b", `/a/${"x".repeat(1000)}`);
  const { seen, answer } = await asked({ action: forward(rewrite) }, long);
  expect([seen, answer.status]).toEqual([undefined, 500]);
});

test("format commands are looked up, and one without a value adds nothing", async () => {
  const { seen, answer } = await asked({
    requestHeadersToAdd: [
      header("x-a", "100%% %REQ(x-from)% %REQ(:PATH)% %PROTOCOL%"),
      header("x-b", "%REQ(x-none)%"),
      { ...header("x-c", "%REQ(x-none)%"), keepEmptyValue: true },
      header("x-d", "%REQ(x-none?X-From)%"),
    ],
    responseHeadersToAdd: [header("server", "mesh", 2), header("x-host", "%REQ(:authority)%")],
  });
  expect(["x-a", "x-b", "x-c", "x-d"].map((name) => valuesOf(seen?.fields, name))).toEqual([
    ["100% me /a/b?q=1 HTTP/1.1"],
    [],
    [""],
    ["me"],
  ]);
  expect(answer.fields.match(/^server: .*$/gm)).toEqual(
    ["server: mesh\r"].map((l) => expect.stringContaining(l.trim())),
  );
  expect(answer.fields).toContain("x-host: a\r\n");
});

test("header text beyond ASCII leaves as UTF-8", async () => {
  const { seen } = await asked({ requestHeadersToAdd: [header("x-u", "é漢")] });
  expect(valuesOf(seen?.fields, "x-u")).toEqual([Buffer.from("é漢").toString("latin1")]);
});

describe("direct responses", () => {
  const direct = (status: number, value: string) => ({
    action: {
      case: "directResponse" as const,
      value: { status, body: { specifier: { case: "inlineString" as const, value } } },
    },
  });
  test("a body beyond ASCII has the length that it says", async () => {
    const { answer } = await asked(direct(200, "é漢"));
    expect(answer.body).toBe(Buffer.from("é漢").toString("latin1"));
  });
  test.each([204, 304])("%d has neither length nor body", async (status) => {
    const { answer } = await asked(direct(status, "not here"));
    expect(answer).toMatchObject({ status, body: "" });
    expect(answer.fields).not.toMatch(/content-length|transfer-encoding/i);
  });
  test("the route's response headers are on it; content-type is there once", async () => {
    const { answer } = await asked({
      ...direct(200, "{}"),
      responseHeadersToAdd: [header("content-type", "application/json", 2), header("x-route", "r")],
    });
    expect(answer.fields.match(/^content-type: .*$/gim)).toEqual(["content-type: application/json"]);
    expect(answer.fields).toContain("x-route: r\r\n");
  });
});
