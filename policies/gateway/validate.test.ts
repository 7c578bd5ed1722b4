import { expect, test } from "vitest";
import { buildWorld, load, validate } from "../index.ts";

const GATE = `
apiVersion: v1
kind: Pod
metadata: {name: gate, labels: {app: gate, gateway.networking.k8s.io/gateway-name: kube}}
spec: {containers: [{name: c, ports: [{containerPort: 8080}]}]}
status: {phase: Running, podIP: 10.0.0.1, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: gate}
spec: {clusterIP: 10.96.0.1, selector: {app: gate}, ports: [{name: http, port: 80, targetPort: 8080}]}
---`;
const gateway = (spec: string): string => `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: door}
spec: ${spec}
---`;
const server = (port: number, hosts: string): string =>
  `{port: {number: ${port}, protocol: HTTP}, hosts: ${hosts}}`;
const virtualService = (hosts: string, more = "gateways: [door]", namespace = "default"): string => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: ${namespace}}
spec: {hosts: ${hosts}, ${more}, http: [{directResponse: {status: 200}}]}
---`;
function issuesOf(text: string): string[] {
  const { objects, issues } = load(GATE + text, "t.yaml");
  return [...issues, ...validate(buildWorld(objects))].map((i) => `${i.level} ${i.code} ${i.path}`);
}

test("a Gateway that no proxy serves, and a port that nothing leads to", () => {
  expect(
    issuesOf(gateway(`{selector: {app: gate}, servers: [${server(80, '["*"]')}, ${server(8080, '["*"]')}]}`)),
  ).toEqual([]);
  expect(issuesOf(gateway(`{selector: {app: gate}, servers: [${server(8443, '["*"]')}]}`))).toEqual([
    "warning unreachable-port spec.servers[0].port.number",
  ]);
  expect(issuesOf(gateway(`{selector: {app: nobody}, servers: [${server(80, '["*"]')}]}`))).toEqual([
    "warning selects-nothing spec.selector",
  ]);
  expect(issuesOf(gateway(`{servers: [${server(80, '["*"]')}]}`))).toEqual([
    "warning selects-nothing spec.selector",
  ]);
});

test("a Gateway API Gateway, alike", () => {
  const kube = (name: string, port: number): string => `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: ${name}}
spec: {gatewayClassName: istio, listeners: [{name: http, port: ${port}, protocol: HTTP}]}
---`;
  expect(issuesOf(kube("kube", 80))).toEqual([]);
  expect(issuesOf(kube("kube", 81))).toEqual(["warning unreachable-port spec.listeners[0].port"]);
  // Of our classes it gets its proxy by itself; of another nobody makes one.
  expect(issuesOf(kube("lonely", 80))).toEqual([]);
  expect(issuesOf(kube("lonely", 80).replace("gatewayClassName: istio", "gatewayClassName: nginx"))).toEqual([
    "warning selects-nothing spec.gatewayClassName",
  ]);
});

test.for<[hosts: string, namespace: string, admitted: boolean]>([
  ['["*"]', "default", true],
  ["[a.example]", "default", true],
  ["[A.Example]", "default", true],
  ['["*.example"]', "default", true],
  ["[b.example]", "default", false],
  ['["*/a.example"]', "other", true],
  ['["./a.example"]', "default", true],
  ['["./a.example"]', "other", false],
  ["[other/a.example]", "other", true],
  ["[other/a.example]", "default", false],
  ["[other/a.example, default/a.example]", "default", true],
])(
  "servers with hosts %s, a VirtualService of a.example in %s: admitted %s",
  ([hosts, namespace, admitted]) => {
    const text =
      gateway(`{selector: {app: gate}, servers: [${server(80, hosts)}]}`) +
      virtualService("[a.example]", "gateways: [default/door]", namespace);
    expect(issuesOf(text)).toEqual(admitted ? [] : ["warning host-not-admitted spec.hosts[0]"]);
  },
);

test('"*" as a host of the mesh is refused, as Istio refuses it', () => {
  const door = gateway(`{selector: {app: gate}, servers: [${server(80, '["*"]')}]}`);
  expect(issuesOf(door + virtualService('["*"]'))).toEqual([]);
  for (const more of ["gateways: [mesh]", "gateways: [door, mesh]", "exportTo: ['*']"])
    expect(issuesOf(door + virtualService('["*"]', more))).toEqual(["error invalid-value spec.hosts[0]"]);
});

test("a subset that no pod has", () => {
  const rule = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: gate}
spec: {host: gate, subsets: [{name: a, labels: {app: gate}}, {name: b, labels: {version: v9}}]}
---`;
  expect(issuesOf(rule)).toEqual(["warning selects-nothing spec.subsets[1].labels"]);
});
