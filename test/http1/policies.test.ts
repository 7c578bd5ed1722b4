/** Routes and policies see the request that the backend sees: neither more (what ends at this hop) nor less (what is added). */
import { afterAll, beforeAll, expect, test } from "vitest";
import { Backend } from "./backend.ts";
import { talk } from "./client.ts";
import { type PlaneOptions, startPlane } from "./plane.ts";

let backend: Backend;
beforeAll(async () => {
  backend = await new Backend().listen();
});
afterAll(() => backend.close());

type Rules = NonNullable<NonNullable<PlaneOptions["rbac"]>["rules"]>;

/** Whether an ALLOW for requests that carry the field lets this one through, whether a route on it takes it, and what arrived. */
async function judged(
  name: string,
  fields: string,
  target = "/",
): Promise<[allowed: boolean, routed: boolean, backend: string[]]> {
  const carries = { name, headerMatchSpecifier: { case: "presentMatch" as const, value: true } };
  const rules: Rules = {
    policies: {
      p: {
        permissions: [{ rule: { case: "header", value: carries } }],
        principals: [{ identifier: { case: "any", value: true } }],
      },
    },
  };
  const request = Buffer.from(`GET ${target} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`);
  const one = (answers: readonly unknown[]) => answers.length === 1;
  const statuses: number[] = [];
  let arrived: string[] = [];
  const routed = [
    {
      match: { pathSpecifier: { case: "prefix" as const, value: "/" }, headers: [carries] },
      action: to("backend"),
    },
    { match: { pathSpecifier: { case: "prefix" as const, value: "/" } }, action: teapot },
  ];
  for (const options of [
    { rbac: { rules } },
    { virtualHosts: [{ name: "v", domains: ["*"], routes: routed }] },
    {},
  ] as Partial<PlaneOptions>[]) {
    backend.reset();
    const plane = await startPlane({ backendPort: backend.port, ...options });
    const { answers } = await talk(plane.port, [request], { until: one });
    await plane.stop();
    expect(backend.faults).toEqual([]);
    statuses.push(answers[0]!.status);
    arrived = (backend.requests[0]?.fields ?? []).filter(([key]) => key === name).map(([, value]) => value);
  }
  expect([200, 403]).toContain(statuses[0]);
  expect([200, 418]).toContain(statuses[1]);
  expect(statuses[2]).toBe(200);
  return [statuses[0] === 200, statuses[1] === 200, arrived];
}
const to = (cluster: string) => ({
  case: "route" as const,
  value: { clusterSpecifier: { case: "cluster" as const, value: cluster } },
});
const teapot = { case: "directResponse" as const, value: { status: 418 } };

test.each([
  ["x-scope", "X-Scope: readonly\r\nConnection: x-scope\r\n"],
  ["x-scope", "Connection: keep-alive, X-SCOPE\r\nX-Scope: readonly\r\nx-scope: b\r\n"],
  ["keep-alive", "Keep-Alive: timeout=5\r\n"],
  ["proxy-connection", "Proxy-Connection: keep-alive\r\n"],
  ["trailer", "Trailer: x\r\n"],
  ["te", "TE: gzip\r\n"],
  ["expect", "Expect: 100-continue\r\n"],
  ["upgrade", "Upgrade: websocket\r\n"],
  ["http2-settings", "Upgrade: h2c\r\nHTTP2-Settings: AAA\r\nConnection: Upgrade, HTTP2-Settings\r\n"],
  ["connection", "Connection: keep-alive\r\n"],
  ["x-envoy-original-path", "X-Envoy-Original-Path: /admin\r\n"],
  ["x-forwarded-client-cert", "X-Forwarded-Client-Cert: URI=spiffe://cluster.local/ns/default/sa/root\r\n"],
])("%s that ends here counts for nobody: %j", async (name, fields) => {
  expect(await judged(name, fields)).toEqual([false, false, []]);
});

test.each([
  ["x-scope", "X-Scope: readonly\r\n", ["readonly"]],
  ["te", "TE: trailers\r\n", ["trailers"]],
  ["authorization", "Authorization: b\r\nConnection: authorization\r\n", ["b"]],
  ["x-forwarded-proto", "", ["http"]],
])("%s that is forwarded counts: %j", async (name, fields, values) => {
  expect(await judged(name, fields)).toEqual([true, true, values]);
});

test("the host of an absolute target is the only one", async () => {
  const exact = (value: string): Rules => ({
    policies: {
      p: {
        permissions: [
          {
            rule: {
              case: "header",
              value: { name: "host", headerMatchSpecifier: { case: "exactMatch", value } },
            },
          },
        ],
        principals: [{ identifier: { case: "any", value: true } }],
      },
    },
  });
  for (const [host, status] of [
    ["b", 200],
    ["a", 403],
  ] as const) {
    const plane = await startPlane({ backendPort: backend.port, rbac: { rules: exact(host) } });
    const { answers } = await talk(plane.port, [Buffer.from("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n")], {
      until: (got) => got.length === 1,
    });
    await plane.stop();
    expect(answers[0]!.status).toBe(status);
  }
});
