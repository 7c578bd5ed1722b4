/** Whatever stands in a policy file: one clear error, the other files take effect, the last good version stays. */
import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { request, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { World } from "#policies/index.ts";
import { createAdminServer } from "../admin/server.ts";
import { parseConfig } from "../config.ts";
import { toWorld } from "../pipeline.ts";
import { type FileSource, watchFiles } from "./file.ts";
import { LastGood } from "./last-good.ts";

const SHOP =
  "apiVersion: v1\nkind: Service\nmetadata: {name: shop}\nspec: {ports: [{name: http, port: 80}]}\n";
const vs = (name: string, spec: string) =>
  `apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ${name}}\nspec: ${spec}\n`;
const GOOD = vs("shop", "{hosts: [shop], http: [{timeout: 1s, route: [{destination: {host: shop}}]}]}");

let dir = "";
let source: FileSource;
let admin: Server;
let world: World;
const file = (name: string) => join(dir, "policies", name);
const write = (name: string, text: string | Buffer) => {
  writeFileSync(`${file(name)}.new`, text);
  renameSync(`${file(name)}.new`, file(name));
};

async function start(): Promise<void> {
  const config = parseConfig(
    JSON.stringify({
      paths: [join(dir, "policies")],
      stateDir: dir,
      listen: { grpc: [], admin: "unix:a", otlp: null },
    }),
    "c",
  );
  source = watchFiles([...config.paths], () => (world = toWorld(source.objects(), config, world)), {
    named: config.paths,
    lastGood: new LastGood(join(dir, "last-good"), () => {}),
  });
  world = toWorld(source.objects(), config);
  admin = createAdminServer({
    config,
    world: () => world,
    objects: source.objects,
    issues: source.issues,
    awaited: source.awaited,
    answers: () => async () => {},
    proxies: () => [],
    resources: () => new Map(),
    failures: () => new Map(),
    traces: null,
    reload: source.reload,
  });
  await new Promise<void>((done) => admin.listen(join(dir, "admin.sock"), done));
}
function stop(): void {
  source.close();
  admin.close();
}
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "weft-bad-"));
  mkdirSync(join(dir, "policies"));
  write("a-shop.yaml", SHOP);
  write("b-route.yaml", GOOD);
  await start();
});
afterEach(() => {
  stop();
  rmSync(dir, { recursive: true });
});

interface Seen {
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
  readonly counts: Readonly<Record<string, number>>;
}
async function seen(): Promise<Seen> {
  source.reload();
  const text = await new Promise<string>((done, fail) =>
    request({ socketPath: join(dir, "admin.sock"), path: "/world", agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (d: string) => (body += d));
      response.on("end", () => done(body));
    })
      .on("error", fail)
      .end(),
  );
  return JSON.parse(text) as Seen;
}
const timeoutOf = () => {
  const route = world.objects.find((o) => o.name === "shop" && o.source.kind === "VirtualService");
  return (route?.raw["spec"] as { http: { timeout?: string }[] } | undefined)?.http[0]?.timeout;
};

/** [what is written over a good file, what its one error says] */
const BROKEN: readonly (readonly [string, string | Buffer, RegExp])[] = [
  ["broken YAML", "a: [1, 2", /b-route\.yaml:1: the YAML is broken: /],
  [
    "unknown field",
    GOOD.replace("timeout", "timeuot"),
    /:4: VirtualService default\/shop: spec\.http\[0\]\.timeuot: unknown field "timeuot": did you mean "timeout"\?/,
  ],
  [
    "wrong type",
    GOOD.replace("1s", "[1]"),
    /spec\.http\[0\]\.timeout: must be a duration such as "5s" or "100ms", not a list/,
  ],
  [
    "a field not carried yet",
    GOOD.replace("timeout: 1s", "corsPolicy: {}"),
    /spec\.http\[0\]\.corsPolicy: field "corsPolicy" is not supported yet/,
  ],
  [
    "duplicate keys",
    GOOD.replace("timeout: 1s", "timeout: 1s, timeout: 2s"),
    /:4: the same key stands twice in one map/,
  ],
  [
    "duplicate keys of 60,000",
    `{${Array.from({ length: 60_000 }, (_, i) => `k${i}: v,\n`).join("")}k1: v}`,
    /:60001: the same key stands twice in one map/,
  ],
  [
    "alias bomb",
    `a: &a [1,1]\nb: &b [${"*a,".repeat(60)}]\nc: [${"*b,".repeat(60)}]`,
    /more than 100 uses of aliases: write the values out/,
  ],
  [
    "exponential aliases",
    ["a0: &a0 [x]", ...Array.from({ length: 25 }, (_, i) => `a${i + 1}: &a${i + 1} [*a${i}, *a${i}]`)].join(
      "\n",
    ),
    /uses of aliases/,
  ],
  ["100,000 levels", "[".repeat(100_000), /nested too deeply|the YAML is broken/],
  ["100,000 closed levels", `${"[".repeat(100_000)}${"]".repeat(100_000)}`, /nested too deeply/],
  [
    "invalid RE2",
    vs("shop", '{hosts: [shop], http: [{match: [{uri: {regex: "(?=a)"}}], redirect: {uri: /}}]}'),
    /match\[0\]\.uri\.regex: is not a regular expression of RE2/,
  ],
  [
    "RE2 that no Envoy takes, and with which a match would take minutes",
    vs(
      "shop",
      `{hosts: [shop], http: [{match: [{uri: {regex: "${"(x?){1000}".repeat(50)}"}}], redirect: {uri: /}}]}`,
    ),
    /match\[0\]\.uri\.regex: is too large a regular expression: it compiles to \d+ steps, 32768 are allowed/,
  ],
  [
    "invalid RE2 in an HTTPRoute",
    'apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec: {rules: [{matches: [{path: {type: RegularExpression, value: "(?!a)"}}]}]}\n',
    /HTTPRoute default\/r: spec\.rules\[0\]\.matches\[0\]\.path\.value: is not a regular expression of RE2/,
  ],
  [
    "a filter without its content",
    "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec: {rules: [{filters: [{type: URLRewrite}]}]}\n",
    /spec\.rules\[0\]\.filters\[0\]: type URLRewrite needs the field urlRewrite/,
  ],
  [
    "port out of range",
    vs("shop", "{hosts: [shop], http: [{route: [{destination: {host: shop, port: {number: 70000}}}]}]}"),
    /destination\.port\.number: must be a whole number from 1 to 65535, not 70000/,
  ],
  [
    "no DNS label",
    vs("shop", '{hosts: ["sh op"], http: [{redirect: {uri: /}}]}'),
    /spec\.hosts\[0\]: must be a DNS name/,
  ],
  [
    "a name that no object can have",
    GOOD.replace("name: shop}", 'name: "Shop/1"}'),
    /metadata\.name: must be a DNS name/,
  ],
  ["no kind", "hello: world", /not a Kubernetes object: it needs the texts apiVersion and kind/],
  [
    "unknown kind of ours",
    GOOD.replace("VirtualService", "VirtualServce"),
    /kind VirtualServce of networking\.istio\.io\/v1 is not supported: known in this group: VirtualService/,
  ],
  [
    "Envoy's own words",
    GOOD.replace("VirtualService", "EnvoyFilter"),
    /kind EnvoyFilter .* is not supported: it patches Envoy's own configuration/,
  ],
  ["unknown version", GOOD.replace("/v1\n", "/v9\n"), /VirtualService has no version v9 \(known: v1, /],
  ["control characters", Buffer.from([0, 1, 2, 0xff, 0xfe]), /b-route\.yaml:1: /],
  [
    "authorization by a key unknown",
    'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\nspec: {rules: [{when: [{key: "request.auth.claims[a]", values: [b]}]}]}\n',
    /rules\[0\]\.when\[0\]\.key: key request\.auth\.claims\[a\] is not supported yet/,
  ],
  [
    "a CIDR that is none",
    "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\nspec: {rules: [{from: [{source: {ipBlocks: [10.0.0.0/99]}}]}]}\n",
    /source\.ipBlocks\[0\]: must be an IP address or range/,
  ],
  [
    "a port-level mode without a port",
    "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\nspec: {selector: {matchLabels: {a: b}}, portLevelMtls: {http: {mode: STRICT}}}\n",
    /portLevelMtls\.http: must be a port number/,
  ],
];

test.each(BROKEN)("%s: one error, the last good version stays, and it heals", async (_what, text, says) => {
  write("b-route.yaml", text);
  const broken = await seen();
  expect(broken.errors).toHaveLength(1);
  expect(broken.errors[0]).toMatch(says);
  expect(broken.errors[0]).toContain(`${file("b-route.yaml")}:`);
  expect(broken.errors[0]).not.toMatch(/undefined|TypeError|\.ts:/);
  expect(timeoutOf()).toBe("1s");
  // Another file takes effect meanwhile.
  write("c-more.yaml", SHOP.replace("shop", "more"));
  expect((await seen()).counts["Service"]).toBe(2);
  write("b-route.yaml", GOOD.replace("1s", "3s"));
  expect((await seen()).errors).toEqual([]);
  expect(timeoutOf()).toBe("3s");
});

test("100 MiB: refused unread", async () => {
  write("b-route.yaml", "");
  truncateSync(file("b-route.yaml"), 100 * 1024 * 1024);
  await expect
    .poll(async () => (await seen()).errors)
    .toEqual([expect.stringMatching(/larger than 4194304 bytes/)]);
});

test("a broken file stays at its last good version over a restart; a removed one does not come back", async () => {
  write("b-route.yaml", "a: [");
  await seen();
  stop();
  await start();
  expect((await seen()).errors).toHaveLength(1);
  expect(timeoutOf()).toBe("1s");
  rmSync(file("b-route.yaml"));
  expect((await seen()).errors).toEqual([]);
  await expect.poll(timeoutOf, { timeout: 20_000 }).toBe(undefined);
  stop();
  write("b-route.yaml", "a: [");
  await start();
  expect(timeoutOf()).toBe(undefined);
});

test.skipIf(process.getuid?.() === 0)("an unreadable file is said to be so", async () => {
  chmodSync(file("b-route.yaml"), 0);
  write("c.yaml", SHOP.replace("shop", "more"));
  writeFileSync(`${file("b-route.yaml")}.new`, GOOD, { mode: 0 });
  renameSync(`${file("b-route.yaml")}.new`, file("b-route.yaml"));
  const { errors } = await seen();
  expect(errors).toEqual([expect.stringMatching(/b-route\.yaml:1: the file cannot be read: EACCES/)]);
  expect(timeoutOf()).toBe("1s");
});

const WHOLE_WORLD: readonly (readonly [string, string, "errors" | "warnings", RegExp])[] = [
  [
    "duplicate objects in two files",
    GOOD.replace("1s", "9s"),
    "errors",
    /c\.yaml:3: VirtualService default\/shop: metadata\.name: already defined at default\/shop \(.*b-route\.yaml:1\), which counts/,
  ],
  [
    "two VirtualServices on one mesh host",
    vs("zz", "{hosts: [shop], http: [{redirect: {uri: /}}]}"),
    "warnings",
    /VirtualService default\/zz: spec\.hosts\[0\]: shop\.default\.svc\.cluster\.local belongs to VirtualService default\/shop .*, the oldest; this one is ignored/,
  ],
  [
    "unknown destination",
    vs("x", "{hosts: [x], http: [{route: [{destination: {host: nobody}}]}]}"),
    "warnings",
    /route\[0\]\.destination\.host: no service has the host nobody\.default\.svc/,
  ],
  [
    "unknown subset",
    vs("x", "{hosts: [x], http: [{route: [{destination: {host: shop, subset: v7}}]}]}"),
    "warnings",
    /destination\.subset: no DestinationRule gives shop.* a subset "v7"/,
  ],
  [
    "unknown gateway",
    vs("x", "{hosts: [x], gateways: [gate], http: [{redirect: {uri: /}}]}"),
    "warnings",
    /spec\.gateways\[0\]: no Gateway default\/gate/,
  ],
  [
    "a host that no service has",
    vs("x", "{hosts: [nowhere], http: [{redirect: {uri: /}}]}"),
    "warnings",
    /spec\.hosts\[0\]: no service has the host nowhere\.default\.svc/,
  ],
  [
    "a delegate that is not there",
    vs("x", "{hosts: [shop2], http: [{delegate: {name: second}}]}"),
    "errors",
    /http\[0\]\.delegate: no VirtualService default\/second/,
  ],
  [
    "a cycle of delegates",
    `${vs("first", "{http: [{delegate: {name: second}}]}")}---\n${vs("second", "{http: [{delegate: {name: first}}]}")}`,
    "errors",
    /only one level is allowed \(this also refuses cycles\)/,
  ],
  [
    "a selector that selects nothing",
    "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\nspec: {selector: {matchLabels: {app: nobody}}}\n",
    "warnings",
    /AuthorizationPolicy default\/a: spec\.selector: the selector takes no workload/,
  ],
  [
    "what our sidecars do not carry out",
    "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d}\nspec: {host: shop, subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 1}}}]}\n",
    "warnings",
    /DestinationRule default\/d: spec\.subsets\[0\]\.trafficPolicy\.outlierDetection: Weft's sidecars eject no host yet/,
  ],
  [
    "a kind that is not for the mesh",
    "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: a}\n",
    "warnings",
    /PodDisruptionBudget a: kind PodDisruptionBudget of policy\/v1 is not for the mesh: left alone/,
  ],
];
test.each(WHOLE_WORLD)("%s: said, and the rest stands", async (_what, text, level, says) => {
  write("c.yaml", text);
  const answer = await seen();
  expect(answer[level].join("\n")).toMatch(says);
  if (level === "warnings") expect(answer.errors).toEqual([]);
  expect(timeoutOf()).toBe("1s");
});
