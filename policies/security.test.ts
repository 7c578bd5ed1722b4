/** What AuthorizationPolicy and PeerAuthentication refuse and warn about: no empty or dead value widens a rule. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { buildWorld, DEFAULT_MESH, load, type MeshSettings, resolve, validate } from "./index.ts";

const mesh = readFileSync(join(import.meta.dirname, "testdata/base.yaml"), "utf8");

function policy(spec: string, more = ""): string {
  return `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p${more}}\nspec: ${spec}\n`;
}
const rule = (text: string, action = "ALLOW") => policy(`{action: ${action}, rules: [${text}]}`);

function refused(text: string): string[] {
  return load(text, "p.yaml").issues.map((i) => `${i.level} ${i.code} ${i.path}: ${i.message}`);
}
function world(text: string, settings: MeshSettings = DEFAULT_MESH) {
  const { objects, issues } = load(`${mesh}\n---\n${text}`, "p.yaml");
  expect(issues).toEqual([]);
  return buildWorld(objects, settings);
}
function warned(text: string, settings?: MeshSettings): string[] {
  return validate(world(text, settings)).map((i) => `${i.level} ${i.code} ${i.path}`);
}

test.each([
  // Empty blocks
  ["{from: [{source: {}}]}", "spec.rules[0].from[0].source"],
  ["{from: [{source: {principals: []}}]}", "spec.rules[0].from[0].source"],
  ["{from: []}", "spec.rules[0].from"],
  // What was left without a value, or is misspelt besides
  ["{from: null}", "spec.rules[0].from"],
  ["{from: [{source: {namespaces: [a]}}], to: null}", "spec.rules[0].to"],
  ["{when: null}", "spec.rules[0].when"],
  ["{form: null}", "spec.rules[0].form"],
  ["{to: []}", "spec.rules[0].to"],
  ["{to: [{operation: {}}]}", "spec.rules[0].to[0].operation"],
  ["{to: [{operation: {methods: [], paths: []}}]}", "spec.rules[0].to[0].operation"],
  ["{from: [{}]}", "spec.rules[0].from[0].source"],
  ["{from: [null]}", "spec.rules[0].from[0]"],
  ["{when: [{key: source.ip}]}", "spec.rules[0].when[0]"],
  ["{when: [{key: source.ip, values: []}]}", "spec.rules[0].when[0]"],
  ["null", "spec.rules[0]"],
  // Templates
  ['{to: [{operation: {paths: ["/api/{**}/x/{**}"]}}]}', "spec.rules[0].to[0].operation.paths[0]"],
  ['{to: [{operation: {paths: ["/{**}/{*}"]}}]}', "spec.rules[0].to[0].operation.paths[0]"],
  ['{to: [{operation: {paths: ["{*}"]}}]}', "spec.rules[0].to[0].operation.paths[0]"],
  ['{to: [{operation: {paths: ["/[x]/{*}"]}}]}', "spec.rules[0].to[0].operation.paths[0]"],
  ['{to: [{operation: {paths: ["/a{*}"]}}]}', "spec.rules[0].to[0].operation.paths[0]"],
  ['{to: [{operation: {paths: ["/{*}.html"]}}]}', "spec.rules[0].to[0].operation.paths[0]"],
  ['{to: [{operation: {paths: ["/{*}/{x}"]}}]}', "spec.rules[0].to[0].operation.paths[0]"],
  ['{to: [{operation: {paths: ["/{*}//x"]}}]}', "spec.rules[0].to[0].operation.paths[0]"],
  ['{to: [{operation: {paths: ["/{*}/a*"]}}]}', "spec.rules[0].to[0].operation.paths[0]"],
  ['{to: [{operation: {notPaths: ["/{x}"]}}]}', "spec.rules[0].to[0].operation.notPaths[0]"],
  ['{to: [{operation: {hosts: ["{*}.example"]}}]}', "spec.rules[0].to[0].operation.hosts[0]"],
  ['{to: [{operation: {methods: ["{*}"]}}]}', "spec.rules[0].to[0].operation.methods[0]"],
  ['{from: [{source: {principals: ["x/{**}"]}}]}', "spec.rules[0].from[0].source.principals[0]"],
  ['{from: [{source: {namespaces: ["{*}"]}}]}', "spec.rules[0].from[0].source.namespaces[0]"],
  ['{when: [{key: connection.sni, values: ["{*}"]}]}', "spec.rules[0].when[0].values[0]"],
  ['{when: [{key: "request.headers[x]", notValues: ["{*}"]}]}', "spec.rules[0].when[0].notValues[0]"],
  // Values
  ['{to: [{operation: {paths: [""]}}]}', "spec.rules[0].to[0].operation.paths[0]"],
  ['{to: [{operation: {paths: ["/a\\r\\nb"]}}]}', "spec.rules[0].to[0].operation.paths[0]"],
  ['{to: [{operation: {ports: ["http"]}}]}', "spec.rules[0].to[0].operation.ports[0]"],
  ['{to: [{operation: {ports: ["0"]}}]}', "spec.rules[0].to[0].operation.ports[0]"],
  ['{when: [{key: destination.port, values: ["99999"]}]}', "spec.rules[0].when[0].values[0]"],
  ['{when: [{key: destination.port, notValues: ["1e3"]}]}', "spec.rules[0].when[0].notValues[0]"],
  ['{when: [{key: source.ip, values: ["10.0.0.0/33"]}]}', "spec.rules[0].when[0].values[0]"],
  ['{from: [{source: {ipBlocks: ["fe80::1%eth0"]}}]}', "spec.rules[0].from[0].source.ipBlocks[0]"],
  ['{from: [{source: {ipBlocks: ["10.0.0.0/08"]}}]}', "spec.rules[0].from[0].source.ipBlocks[0]"],
  ['{from: [{source: {serviceAccounts: ["default/*"]}}]}', "spec.rules[0].from[0].source.serviceAccounts[0]"],
  ['{from: [{source: {serviceAccounts: ["a/b/c"]}}]}', "spec.rules[0].from[0].source.serviceAccounts[0]"],
  ['{from: [{source: {serviceAccounts: ["a"], namespaces: ["b"]}}]}', "spec.rules[0].from[0].source"],
  ['{from: [{source: {trustDomains: ["a*b"]}}]}', "spec.rules[0].from[0].source.trustDomains[0]"],
  ['{when: [{key: source.serviceAccount, values: ["*"]}]}', "spec.rules[0].when[0].values[0]"],
  ['{when: [{key: "request.headers[a b]", values: ["x"]}]}', "spec.rules[0].when[0].key"],
  ['{when: [{key: "request.auth.claims[a]", values: ["x"]}]}', "spec.rules[0].when[0].key"],
])("refused, in an ALLOW and in a DENY: %s", (text, path) => {
  for (const action of ["ALLOW", "DENY"]) {
    const issues = refused(rule(text, action));
    expect(issues).toHaveLength(1);
    expect(issues[0]).toMatch(/^error /);
    expect(issues[0]).toContain(` ${path}: `);
  }
});

test("null and other odd values are called by their name", () => {
  expect(refused(rule("null"))[0]).toContain("must be a map, not null: it has no value");
  expect(refused(policy("{rules: {}}"))[0]).toContain("must be a list, not a map");
  expect(refused(policy("{action: .nan}"))[0]).toContain("not NaN");
});

test.each([
  [policy("{action: DENY}"), "spec: DENY without rules"],
  [policy("{action: DENY, rules: []}"), "spec: DENY without rules"],
  [policy("{action: null, rules: [{}]}"), 'spec.action: field "action" has no value'],
  [
    "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\nspec: {mtls: null}\n",
    'field "mtls" has no value',
  ],
  [
    "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\nspec: {mtls: {mode: null}}\n",
    'field "mode" has no value',
  ],
  [policy('{selector: {matchLabels: {app: "sh*"}}}'), "spec.selector.matchLabels.app"],
  [policy("{}", ', annotations: {istio.io/dry-run: "yes"}'), "metadata.annotations.istio.io/dry-run"],
  [policy("{action: AUDIT}", ', annotations: {istio.io/dry-run: "true"}'), "dry-run: action AUDIT"],
  [
    'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p, annotations: {istio.io/dry-run: "true"}}\n',
    "PeerAuthentication has no dry run",
  ],
  [
    "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\nspec: {selector: {matchLabels: {app: shop}}, portLevelMtls: {}}\n",
    "spec.portLevelMtls: must not be empty",
  ],
])("refused: %s", (text, says) => {
  const issues = refused(text);
  expect(issues).toHaveLength(1);
  expect(issues[0]).toContain(says);
});

test.each([
  ["v1", "PeerAuthentication", "security.istio.io/v1"],
  ["security.istio.io", "PeerAuthentication", "security.istio.io/v1"],
  ["authentication.istio.io/v1alpha1", "PeerAuthentication", "security.istio.io/v1"],
  ["networking.istio.io/v1", "AuthorizationPolicy", "security.istio.io/v1"],
  ["security.istio.io/v1", "VirtualService", "networking.istio.io/v1"],
  ["networking.k8s.io/v1", "HTTPRoute", "gateway.networking.k8s.io/v1"],
  ["example.com/v1", "DestinationRule", "networking.istio.io/v1"],
])("%s %s is refused, and the right apiVersion is named: %s", (version, kind, right) => {
  const issues = refused(`apiVersion: ${version}\nkind: ${kind}\nmetadata: {name: p}\n`);
  expect(issues).toHaveLength(1);
  expect(issues[0]).toMatch(/^error unknown-version/);
  expect(issues[0]).toContain(right);
});

test("a kind that another project has, too, is left alone under that project's group", () => {
  const [issue] = load(
    "apiVersion: policy.linkerd.io/v1beta1\nkind: HTTPRoute\nmetadata: {name: p}\n",
    "p",
  ).issues;
  expect(issue).toMatchObject({ level: "warning", code: "foreign-kind" });
});

test.each(["true", "True", "TRUE", "t", "1"])(
  "istio.io/dry-run: %s is a dry run, as Go reads booleans",
  (value) => {
    const w = world(policy("{}", `, annotations: {istio.io/dry-run: "${value}"}`));
    expect(resolve(w, w.workloads[0]!).authorization.allow[0]?.dryRun).toBe(true);
  },
);

test.each([
  [
    '{from: [{source: {principals: ["spiffe://cluster.local/ns/default/sa/shop"]}}]}',
    "from[0].source.principals[0]",
  ],
  ['{from: [{source: {notPrincipals: ["spiffe://*"]}}]}', "from[0].source.notPrincipals[0]"],
  ['{from: [{source: {principals: ["cluster.local/ns/*/sa/shop"]}}]}', "from[0].source.principals[0]"],
  ['{from: [{source: {principals: ["default/shop"]}}]}', "from[0].source.principals[0]"],
  ['{from: [{source: {principals: ["cluster.local/ns/default/sa/shpo"]}}]}', "from[0].source.principals[0]"],
  ['{from: [{source: {principals: ["other/ns/default/sa/shop"]}}]}', "from[0].source.principals[0]"],
  ['{from: [{source: {serviceAccounts: ["shpo"]}}]}', "from[0].source.serviceAccounts[0]"],
  ['{from: [{source: {trustDomains: ["other"]}}]}', "from[0].source.trustDomains[0]"],
  ['{from: [{source: {namespaces: ["nowhere"]}}]}', "from[0].source.namespaces[0]"],
  ["{to: [{operation: {methods: [post]}}]}", "to[0].operation.methods[0]"],
  ['{to: [{operation: {methods: ["GET,POST"]}}]}', "to[0].operation.methods[0]"],
  ['{to: [{operation: {paths: ["/a/*/b"]}}]}', "to[0].operation.paths[0]"],
  ['{to: [{operation: {paths: ["*/a*"]}}]}', "to[0].operation.paths[0]"],
  ['{to: [{operation: {notPaths: ["admin"]}}]}', "to[0].operation.notPaths[0]"],
  ['{to: [{operation: {paths: ["/a?b"]}}]}', "to[0].operation.paths[0]"],
  ['{to: [{operation: {paths: ["/a/../b"]}}]}', "to[0].operation.paths[0]"],
  ['{to: [{operation: {paths: ["/caf\u00e9"]}}]}', "to[0].operation.paths[0]"],
  ['{to: [{operation: {paths: ["/a b"]}}]}', "to[0].operation.paths[0]"],
  ['{to: [{operation: {paths: ["/%61dmin"]}}]}', "to[0].operation.paths[0]"],
  ["{to: [{operation: {paths: ['/a\\b']}}]}", "to[0].operation.paths[0]"],
  ['{to: [{operation: {hosts: ["http://shop.example"]}}]}', "to[0].operation.hosts[0]"],
  ['{to: [{operation: {hosts: ["caf\u00e9.example"]}}]}', "to[0].operation.hosts[0]"],
  ['{to: [{operation: {hosts: ["shop.example:8080"]}}]}', "to[0].operation.hosts[0]"],
  ['{to: [{operation: {hosts: ["a.*.example"]}}]}', "to[0].operation.hosts[0]"],
  ['{to: [{operation: {ports: ["80"]}}]}', "to[0].operation.ports[0]"],
  ['{when: [{key: destination.port, values: ["80"]}]}', "when[0].values[0]"],
  ['{when: [{key: source.principal, notValues: ["spiffe://x"]}]}', "when[0].notValues[0]"],
])("warned, since it can never match: %s", (text, path) => {
  for (const action of ["ALLOW", "DENY"])
    expect(warned(rule(text, action))).toEqual([`warning never-matches spec.rules[0].${path}`]);
});

test("values that can match are taken without a word", () => {
  const text = rule(`
    {from: [{source: {principals: ["*", "cluster.local/ns/default/*", "*/sa/shop", cluster.local/ns/default/sa/shop],
                      namespaces: [default, "de*", "*fa*"], trustDomains: [cluster.local, "*.local", "cluster*"]}},
            {source: {serviceAccounts: [shop, default/shop], ipBlocks: [10.0.0.0/8, "fd00::/8", 1.2.3.4]}}],
     to: [{operation: {methods: [GET, "P*", "*"], paths: [/a, "/a/*", "*.html", "*", "/{*}/x/{**}", "/a/{**}/"],
                       hosts: [shop, "*.example", "shop.*"], ports: ["8080"]}}],
     when: [{key: "request.headers[X-A]", values: ["a*"]}, {key: source.trustDomain, values: ["*"]}]}`);
  expect(warned(text)).toEqual([]);
});

test("an empty list beside a condition is no condition, and is told", () => {
  expect(warned(rule("{from: [{source: {principals: [], namespaces: [default]}}], when: []}"))).toEqual([
    "warning empty-list spec.rules[0].from[0].source.principals",
    "warning empty-list spec.rules[0].when",
  ]);
});

test("cluster.local means the mesh's own trust domain, whatever its name", () => {
  const text = rule(
    '{from: [{source: {principals: [cluster.local/ns/default/sa/client, "cluster.local/ns/a/*", "*/sa/x"]}}], when: [{key: source.principal, notValues: [cluster.local/ns/b/sa/c]}]}',
    "DENY",
  );
  const w = world(text, { ...DEFAULT_MESH, trustDomain: "prod.example" });
  const [denied] = resolve(w, w.workloads[0]!).authorization.deny;
  expect(denied?.rules[0]?.from[0]?.[0]?.values).toEqual([
    { kind: "exact", value: "prod.example/ns/default/sa/client" },
    { kind: "prefix", value: "prod.example/ns/a/" },
    { kind: "suffix", value: "/sa/x" },
  ]);
  expect(denied?.rules[0]?.when[0]?.notValues).toEqual([{ kind: "exact", value: "prod.example/ns/b/sa/c" }]);
});

const peer = (name: string, spec: string, namespace = "default") =>
  `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec: ${spec}\n---\n`;

test("of two PeerAuthentications of the same reach the oldest counts, and the other is told", () => {
  const strict = "{mtls: {mode: STRICT}}";
  const chosen = (labels: string) => `{selector: {matchLabels: ${labels}}, mtls: {mode: DISABLE}}`;
  expect(
    warned(
      peer("mesh-1", strict, "istio-system") +
        peer("mesh-2", strict, "istio-system") +
        peer("ns-1", strict) +
        peer("ns-2", strict) +
        peer("pod-1", chosen("{app: shop}")) +
        peer("pod-2", chosen("{version: v1}")) +
        peer("pod-3", chosen("{app: client}")),
    ),
  ).toEqual([
    "warning conflicting-policy spec", // mesh-2
    "warning conflicting-policy spec", // ns-2
    "warning conflicting-policy spec", // pod-2, by shop-v1
    "warning conflicting-policy spec", // pod-3, by pod-2
  ]);
});

test("portLevelMtls by the Service's port is told, with the port that was meant", () => {
  const spec = (port: number) =>
    `{selector: {matchLabels: {app: shop}}, portLevelMtls: {${port}: {mode: STRICT}}}`;
  const [issue] = validate(world(peer("p", spec(80))));
  expect(issue).toMatchObject({ code: "never-matches", path: "spec.portLevelMtls.80" });
  expect(issue?.message).toContain("Service shop, which leads to port 8080");
  expect(warned(peer("p", spec(8080)))).toEqual([]);
});

test("a selector without labels takes everything, and is told", () => {
  for (const selector of ["{}", "null", "{matchLabels: null}"])
    expect(warned(policy(`{selector: ${selector}}`))).toEqual(["warning selects-everything spec.selector"]);
});
