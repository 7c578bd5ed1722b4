import { expect, test } from "vitest";
import { buildWorld, endpointsOf, load, resolve, validate } from "./index.ts";

const pod = (name: string, app: string, version: string, ip: string): string => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, labels: {app: ${app}, version: ${version}, security.istio.io/tlsMode: istio}}
spec: {serviceAccountName: ${app}, containers: [{name: c, ports: [{containerPort: 9080}]}]}
status: {phase: Running, podIP: ${ip}, conditions: [{type: Ready, status: "True"}]}
---`;
const base = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {clusterIP: 10.96.0.1, selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---${pod("r1", "reviews", "v1", "10.244.0.1")}${pod("r2", "reviews", "v2", "10.244.0.2")}${pod("p", "page", "v1", "10.244.0.3")}`;
const rule = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---`;
function world(text: string) {
  const { objects, issues } = load(base + text, "test.yaml");
  expect(issues).toEqual([]);
  return buildWorld(objects);
}
function of(text: string, name = "p") {
  const w = world(text);
  return resolve(w, w.workloads.find((x) => x.pod === name)!);
}

test("a service without policies: one virtual host, default route, auto mTLS", () => {
  const ir = of("");
  expect(ir.outboundHttp[0]?.virtualHosts[0]).toMatchObject({
    name: "reviews.default.svc.cluster.local:9080",
    domains: [
      "reviews.default.svc.cluster.local",
      "reviews.default.svc.cluster.local.",
      "reviews",
      "reviews.default.svc",
      "reviews.default",
      "10.96.0.1",
    ],
  });
  expect(ir.clusters[0]?.tls).toEqual({
    kind: "auto",
    sans: ["spiffe://cluster.local/ns/default/sa/reviews"],
    sni: "outbound_.9080_._.reviews.default.svc.cluster.local",
  });
});

test("a 90/10 split over subsets, with header match first", () => {
  const text = `${rule}
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 90}
    - {destination: {host: reviews, subset: v2}, weight: 10}
`;
  const w = world(text);
  expect(validate(w)).toEqual([]);
  const routes = of(text).outboundHttp[0]!.virtualHosts[0]!.routes;
  expect(routes[0]?.match.headers).toMatchObject([
    { name: "end-user", match: { kind: "exact", value: "jason" } },
  ]);
  expect(routes[1]?.action).toMatchObject({ destinations: [{ weight: 90 }, { weight: 10 }] });
  const cluster = of(text).clusters.find((c) => c.subset === "v2")!;
  expect(endpointsOf(w, cluster).map((e) => e.address)).toEqual(["10.244.0.2"]);
});

test("PeerAuthentication: workload over namespace over mesh; authorization scoped by selector", () => {
  const ir = of(
    `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: all, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: one}
spec: {selector: {matchLabels: {app: reviews}}, portLevelMtls: {9080: {mode: DISABLE}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: none}
spec: {selector: {matchLabels: {app: reviews}}}
`,
    "r1",
  );
  expect(ir.inbound[0]).toMatchObject({ port: 9080, mtls: "DISABLE" });
  expect(ir.defaultMtls).toBe("STRICT");
  expect(ir.authorization.allow).toMatchObject([{ name: "none", rules: [] }]);
});

test("errors name file, line, object and field", () => {
  const { objects, issues } = load(
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a]\n  http: [{mirrors: [], redirect: {uri: /x}}]\n  htpp: []\n",
    "x.yaml",
  );
  expect(objects).toEqual([]);
  expect(issues.map((i) => [i.code, i.line, i.object, i.path])).toEqual([
    ["unknown-field", 7, "VirtualService default/a", "spec.htpp"],
    ["unsupported-field", 6, "VirtualService default/a", "spec.http[0].mirrors"],
  ]);
});

test("HTTPRoute on a Service: longest path first; a Gateway serves its host", () => {
  const ir = of(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews}
spec:
  parentRefs: [{group: "", kind: Service, name: reviews, port: 9080}]
  rules:
  - backendRefs: [{name: reviews, port: 9080}]
  - matches: [{path: {type: PathPrefix, value: /a/}}, {path: {type: Exact, value: /a}}]
    backendRefs: [{name: nobody, port: 1}]
`);
  const routes = ir.outboundHttp[0]!.virtualHosts[0]!.routes;
  expect(routes.map((r) => r.match.path)).toEqual([
    { kind: "exact", value: "/a" },
    { kind: "segments", value: "/a" },
    null,
  ]);
  expect(routes[0]?.action).toMatchObject({ kind: "respond", status: 500 });
});

test("bad input: broken YAML, alias bomb, unknown kind, bad regex: an error each, never a throw", () => {
  const codes = (text: string) => load(text, "x.yaml").issues.map((i) => i.code);
  expect(codes("a: [")).toContain("yaml");
  expect(codes(`a: &a [1,1]\nb: &b [${"*a,".repeat(60)}]\nc: [${"*b,".repeat(60)}]`)).toEqual(["yaml"]);
  expect(codes("apiVersion: v1\nkind: Gizmo\nmetadata: {name: a}")).toEqual(["foreign-kind"]);
  expect(codes("apiVersion: networking.istio.io/v1\nkind: Gizmo\nmetadata: {name: a}")).toEqual([
    "unknown-kind",
  ]);
  expect(codes("42")).toEqual(["not-an-object"]);
  const vs =
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {hosts: [a], http: [";
  expect(codes(`${vs}{match: [{uri: {regex: "("}}], redirect: {uri: /}}]}`)).toEqual(["invalid-value"]);
});
