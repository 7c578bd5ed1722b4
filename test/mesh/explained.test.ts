/** What `weft explain` says is what the mesh does: policies and requests made by chance, asked of both. */
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Explanation } from "#cli/explain/contract.ts";
import { type Call, call } from "#test/harness/call.ts";
import { onEachDataPlane } from "#test/harness/each-data-plane.ts";

const from = join(import.meta.dirname, "echo");
const replace = { ECHO_MAIN: join(import.meta.dirname, "../harness/echo-main.ts") };

// One seed for CI; WEFT_EXPLAIN_SEED tries others, WEFT_EXPLAIN_RUNS more.
const seed = Number(process.env["WEFT_EXPLAIN_SEED"] ?? 7);
const runs = Number(process.env["WEFT_EXPLAIN_RUNS"] ?? 8);

const path = fc.constantFrom("/", "/a", "/a/b", "/A", "/ab", "/c?q=1", "/c", "/a/../c", "//a");
const uri = fc.oneof(
  fc.record({ exact: fc.constantFrom("/a", "/c", "/ab") }),
  fc.record({ prefix: fc.constantFrom("/", "/a", "/a/", "/c") }),
  fc.record({ regex: fc.constantFrom("/a.*", ".*c", "/[ab]") }),
);
const text = fc.oneof(
  fc.record({ exact: fc.constantFrom("x", "GET") }),
  fc.record({ prefix: fc.constant("x") }),
  fc.constant({}),
);
const optional = { requiredKeys: [] };
const match = fc.record(
  {
    uri,
    ignoreUriCase: fc.boolean(),
    method: fc.record({ exact: fc.constantFrom("GET", "POST") }),
    headers: fc.record({ "x-user": text }),
    withoutHeaders: fc.record({ "x-user": text }),
    queryParams: fc.record({ q: fc.record({ exact: fc.constantFrom("1", "2") }) }),
    sourceLabels: fc.record({ app: fc.constantFrom("client", "nobody") }),
  },
  optional,
);
const to = (subset: string | undefined) => ({
  route: [
    { destination: { host: "echo", port: { number: 8080 }, ...(subset === undefined ? {} : { subset }) } },
  ],
});
const action = fc.oneof(
  fc.constantFrom(to("v1"), to("v2"), to(undefined), to("nobody")),
  fc.constantFrom({ redirect: { uri: "/else" } }, { directResponse: { status: 418 } }),
  fc.constantFrom(
    { ...to("v1"), fault: { abort: { httpStatus: 555 } } },
    { ...to("v2"), rewrite: { uri: "/secret" } },
    { ...to("v1"), headers: { request: { set: { "x-user": "x" } } } },
  ),
);
const rule = fc
  .tuple(fc.array(match, { maxLength: 2 }), action)
  .map(([matches, act]) => ({ ...(matches.length === 0 ? {} : { match: matches }), ...act }));
const clause = fc.record(
  {
    methods: fc.constantFrom(["GET"], ["POST", "PUT"]),
    paths: fc.constantFrom(["/a*"], ["/secret"], ["*c"]),
    notPaths: fc.constantFrom(["/a*"], ["/c"]),
  },
  { requiredKeys: ["methods"] },
);
const policy = fc.record({
  action: fc.constantFrom("ALLOW", "DENY"),
  rules: fc.array(
    fc.record(
      {
        to: clause.map((operation) => [{ operation }]),
        from: fc
          .constantFrom("default/client", "default/other")
          .map((account) => [
            { source: { principals: [`cluster.local/ns/${account.replace("/", "/sa/")}`] } },
          ]),
        when: fc.constant([{ key: "request.headers[x-user]", values: ["x"] }]),
      },
      { requiredKeys: ["to"] },
    ),
    { minLength: 1, maxLength: 2 },
  ),
});
const world = fc.record({
  http: fc.array(rule, { minLength: 1, maxLength: 4 }),
  policies: fc.array(policy, { maxLength: 2 }),
  mtls: fc.constantFrom("STRICT", "PERMISSIVE"),
  tls: fc.constantFrom("ISTIO_MUTUAL", "DISABLE", null),
});
const request = fc.record({
  method: fc.constantFrom("GET", "POST"),
  path,
  user: fc.constantFrom(null, "x", "xy", "z"),
});

const objects = ({
  http,
  policies,
  mtls,
  tls,
}: typeof world extends fc.Arbitrary<infer T> ? T : never): string =>
  [
    { kind: "VirtualService", group: "networking", name: "echo", spec: { hosts: ["echo"], http } },
    {
      kind: "DestinationRule",
      group: "networking",
      name: "echo",
      spec: {
        host: "echo",
        ...(tls === null ? {} : { trafficPolicy: { tls: { mode: tls } } }),
        subsets: ["v1", "v2"].map((v) => ({ name: v, labels: { version: v } })),
      },
    },
    { kind: "PeerAuthentication", group: "security", name: "default", spec: { mtls: { mode: mtls } } },
    // Two of them always, so that what an earlier run said is replaced.
    ...[0, 1].map((i) => ({
      kind: "AuthorizationPolicy",
      group: "security",
      name: `made-${i}`,
      spec: {
        selector: { matchLabels: { app: "echo" } },
        ...(policies[i] ?? { action: "DENY", rules: [{ to: [{ operation: { methods: ["TRACE"] } }] }] }),
      },
    })),
  ]
    .map(({ kind, group, name, spec }) =>
      JSON.stringify({ apiVersion: `${group}.istio.io/v1`, kind, metadata: { name }, spec }),
    )
    .join("\n---\n");

onEachDataPlane("explained", { from, replace }, (mesh) => {
  const worlds = fc.sample(fc.tuple(world, fc.array(request, { minLength: 8, maxLength: 8 })), {
    seed,
    numRuns: runs,
  });

  test.each(worlds.map((w, i) => [i, ...w] as const))(
    `world %i of seed ${seed}`,
    async (_, made, requests) => {
      await mesh().apply(`${objects(made)}\n`);
      const host = await mesh().addressOf("echo", "client");
      for (const { method, path, user } of requests) {
        const headers = user === null ? [] : ["-H", `x-user: ${user}`];
        const url = `http://echo:8080${path}`;
        const { out } = await mesh().cli(
          "explain",
          "--from",
          "client",
          method,
          url,
          ...headers,
          "-o",
          "json",
        );
        const { outcomes } = JSON.parse(out) as Explanation;
        const ask: Call = {
          host,
          port: 8080,
          method,
          path,
          headers: { host: "echo:8080", ...(user && { "x-user": user }) },
        };
        const { status } = await call(ask);
        expect(
          outcomes.map((o) => o.status),
          `${method} ${url} ${user ?? ""}: the mesh answers ${status}; ${objects(made)}`,
        ).toContain(status);
        expect(new Set(outcomes.map((o) => o.status)).size, `${url} is certain`).toBe(1);
      }
    },
  );
});
