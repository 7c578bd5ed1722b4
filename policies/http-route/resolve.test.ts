import { describe, expect, test } from "vitest";
import { buildWorld, load, resolve, validate } from "../index.ts";

const BASE = `
apiVersion: v1
kind: Pod
metadata: {name: gate, labels: {gateway.networking.k8s.io/gateway-name: door}}
spec: {containers: [{name: c}]}
status: {phase: Running, podIP: 10.0.0.1, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: far, namespace: far}
spec: {clusterIP: 10.96.0.2, ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: door}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 8000, protocol: HTTP, hostname: "*.example"}]}
---`;
function route(name: string, rules: string, more = "", metadata = ""): string {
  return `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ${name}${metadata}}
spec: {parentRefs: [{name: door}]${more}, rules: [${rules}]}
---`;
}
function worldOf(text: string) {
  const { objects, issues } = load(BASE + text, "t.yaml");
  expect(issues).toEqual([]);
  return buildWorld(objects);
}
function routesOf(text: string) {
  const world = worldOf(text);
  return resolve(world, world.workloads[0]!).gatewayListeners[0]!.virtualHosts[0]!.routes;
}
const issuesOf = (text: string) => validate(worldOf(text)).map((i) => `${i.code} ${i.path}`);
const refusals = (text: string) => load(BASE + text, "t.yaml").issues.map((i) => i.message);

const WEB = "backendRefs: [{name: web, port: 80}]";

test("precedence: exact, longest prefix, method, most headers, most query parameters, age, namespace/name", () => {
  const rule = (match: string) => `{matches: [${match}], ${WEB}}`;
  const old = ', creationTimestamp: "2026-01-01T00:00:00Z"';
  const young = ', creationTimestamp: "2026-01-02T00:00:00Z"';
  const text =
    route("z-young", rule("{path: {value: /a}}"), "", young) +
    route("b-old", rule("{path: {value: /a}}"), "", old) +
    route("a-old", rule("{path: {value: /a}}"), "", old) +
    route("query", rule("{path: {value: /a}, queryParams: [{name: q, value: v}]}"), "", young) +
    route("headers", rule("{path: {value: /a}, headers: [{name: h, value: v}]}"), "", young) +
    route(
      "headers-2",
      rule(
        "{path: {value: /a}, headers: [{name: h, value: v}, {name: i, value: v}], queryParams: [{name: q, value: v}]}",
      ),
      "",
      young,
    ) +
    route("method", rule("{path: {value: /a}, method: GET}"), "", young) +
    route("longer", rule("{path: {value: /a/b}}"), "", young) +
    route("exact", rule("{path: {type: Exact, value: /a}}"), "", young);
  expect(routesOf(text).map((r) => r.name)).toEqual(
    ["exact", "longer", "method", "headers-2", "headers", "query", "a-old", "b-old", "z-young"].map(
      (name) => `default.${name}.0`,
    ),
  );
});

test("of two conditions on one header or query parameter the first counts", () => {
  const [first] = routesOf(
    route(
      "one",
      `{matches: [{headers: [{name: X, value: a}, {name: x, value: b}], queryParams: [{name: q, value: a}, {name: q, value: b}]}], ${WEB}}`,
    ),
  );
  expect(first!.match.headers).toMatchObject([{ name: "x", match: { value: "a" } }]);
  expect(first!.match.query).toMatchObject([{ name: "q", match: { value: "a" } }]);
});

describe("RequestRedirect: which port", () => {
  test.for<[redirect: string, port: number]>([
    ["{scheme: https}", 443],
    ["{scheme: http}", 80],
    ["{hostname: other.example}", 8000],
    ["{scheme: https, port: 8443}", 8443],
    ["{port: 80}", 80],
  ])("%s: %d", ([redirect, port]) => {
    const filter = `{type: RequestRedirect, requestRedirect: ${redirect}}`;
    expect(routesOf(route("r", `{filters: [${filter}]}`))[0]!.action).toMatchObject({
      kind: "redirect",
      port,
    });
  });
});

describe("ReferenceGrant", () => {
  const far = route("r", "{backendRefs: [{name: far, namespace: far, port: 80}]}");
  const grant = (name: string, from: string, to = '{group: "", kind: Service}', namespace = "far") => `
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: ${name}, namespace: ${namespace}}
spec: {from: [${from}], to: [${to}]}
---`;
  const GROUP = "group: gateway.networking.k8s.io";
  const fits = `{${GROUP}, kind: HTTPRoute, namespace: default}`;
  test.for<[what: string, grants: string, granted: boolean]>([
    ["none", "", false],
    ["one that fits", grant("a", fits), true],
    ["another group", grant("a", "{group: other.example, kind: HTTPRoute, namespace: default}"), false],
    ["another kind", grant("a", `{${GROUP}, kind: GRPCRoute, namespace: default}`), false],
    ["another namespace", grant("a", `{${GROUP}, kind: HTTPRoute, namespace: other}`), false],
    ["in the wrong namespace", grant("a", fits, '{group: "", kind: Service}', "default"), false],
    ["to another group", grant("a", fits, "{group: other.example, kind: Service}"), false],
    ["to another kind", grant("a", fits, '{group: "", kind: Secret}'), false],
    ["to another name", grant("a", fits, '{group: "", kind: Service, name: other}'), false],
    ["by name", grant("a", fits, '{group: "", kind: Service, name: far}'), true],
    [
      "the second of two",
      grant("a", "{group: g.example, kind: HTTPRoute, namespace: default}") + grant("b", fits),
      true,
    ],
    ["the second entry of one", grant("a", `{${GROUP}, kind: TCPRoute, namespace: default}, ${fits}`), true],
  ])("%s", ([, grants, granted]) => {
    expect(routesOf(far + grants)[0]!.action.kind).toBe(granted ? "forward" : "respond");
    expect(issuesOf(far + grants)).toEqual(granted ? [] : ["not-granted spec.rules[0].backendRefs[0]"]);
  });
});

test("what leads nowhere is told", () => {
  const at = "spec.rules[0].backendRefs[0]";
  expect(issuesOf(route("r", "{backendRefs: [{name: gone, port: 80}]}"))).toEqual([`unknown-host ${at}`]);
  expect(issuesOf(route("r", "{backendRefs: [{name: web, port: 81}]}"))).toEqual([`unknown-port ${at}`]);
  expect(issuesOf(route("r", "{backendRefs: [{name: web}]}"))).toEqual([`unknown-port ${at}`]);
  expect(issuesOf(route("r", "{backendRefs: [{name: web, kind: Pod, port: 80}]}"))).toEqual([
    `unknown-backend ${at}`,
  ]);
  expect(issuesOf(route("r", `{${WEB}}`, ", hostnames: [a.other]"))).toEqual([
    "host-not-admitted spec.hostnames[0]",
  ]);
  expect(issuesOf(route("r", `{${WEB}}`, ', hostnames: [a.example, "*.b.example"]'))).toEqual([]);
  const parent = (ref: string) => issuesOf(route("r", `{${WEB}}`).replace("{name: door}", ref));
  expect(parent("{name: gone}")).toEqual(["unknown-gateway spec.parentRefs[0]"]);
  expect(parent("{name: door, sectionName: tls}")).toEqual(["unknown-listener spec.parentRefs[0]"]);
  expect(parent("{name: door, port: 80}")).toEqual(["unknown-listener spec.parentRefs[0]"]);
  expect(parent('{group: "", kind: Service, name: gone}')).toEqual(["unknown-host spec.parentRefs[0]"]);
  expect(parent('{group: "", kind: Service, name: web, port: 81}')).toEqual([
    "unknown-port spec.parentRefs[0].port",
  ]);
  const elsewhere = route("r", `{${WEB}}`, "", ", namespace: far").replace(
    "{name: door}",
    "{name: door, namespace: default}",
  );
  expect(issuesOf(elsewhere)).toContain("not-allowed spec.parentRefs[0]");
});

describe("refused, as the CRD refuses", () => {
  const filter = (type: string, field: string) => `{type: ${type}, ${field}}`;
  const prefix = "path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}";
  test.for<[rule: string, message: string]>([
    [`{timeouts: {request: 1s, backendRequest: 2s}, ${WEB}}`, "backendRequest must not be longer"],
    [
      `{matches: [{path: {type: Exact, value: /a}}], filters: [${filter("URLRewrite", `urlRewrite: {${prefix}}`)}], ${WEB}}`,
      "exactly one match",
    ],
    [
      `{matches: [{}, {}], filters: [${filter("RequestRedirect", `requestRedirect: {${prefix}}`)}]}`,
      "exactly one match",
    ],
    [
      `{filters: [${filter("RequestRedirect", "requestRedirect: {}")}], ${WEB}}`,
      "both RequestRedirect and backendRefs",
    ],
    [
      `{filters: [${filter("RequestRedirect", "requestRedirect: {}")}, ${filter("URLRewrite", "urlRewrite: {}")}]}`,
      "both RequestRedirect and URLRewrite",
    ],
    [
      `{filters: [${filter("URLRewrite", "urlRewrite: {path: {type: ReplaceFullPath, replacePrefixMatch: /x}}")}], ${WEB}}`,
      "needs the",
    ],
    [
      `{filters: [${filter("URLRewrite", "urlRewrite: {path: {type: ReplacePrefixMatch}}")}], ${WEB}}`,
      "needs the field replacePrefixMatch",
    ],
    [
      `{filters: [${filter("URLRewrite", 'urlRewrite: {hostname: "*.example"}')}], ${WEB}}`,
      "without a wildcard",
    ],
    [
      `{filters: [${filter("RequestRedirect", "requestRedirect: {scheme: ftp}")}]}`,
      "must be one of http, https",
    ],
    [`{matches: [{path: {value: a}}], ${WEB}}`, 'must begin with "/"'],
    [`{matches: [{path: {value: /a//b}}], ${WEB}}`, 'value holds "//"'],
    [`{matches: [{path: {value: /a/../b}}], ${WEB}}`, 'value holds "/.."'],
    [`{matches: [{method: get}], ${WEB}}`, "must be one of GET"],
  ])("%s", ([rule, message]) => {
    expect(refusals(route("r", rule)).join("\n")).toContain(message);
  });
  test("request: 0s is no limit that backendRequest could pass", () => {
    expect(refusals(route("r", `{timeouts: {request: 0s, backendRequest: 2s}, ${WEB}}`))).toEqual([]);
  });
});
