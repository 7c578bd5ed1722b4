import { describe, expect, test } from "vitest";
import { buildWorld, load, resolve, validate } from "../index.ts";

const pod = (name: string, ip: string, more = ""): string => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, labels: {app: ${name.split("-")[0]}${more}, security.istio.io/tlsMode: istio}}
spec: {serviceAccountName: ${name.split("-")[0]}, containers: [{name: c, ports: [{containerPort: 80}]}]}
status: {phase: Running, podIP: ${ip}, conditions: [{type: Ready, status: "True"}]}
---`;
const stateful = (name: string, ip: string): string =>
  pod(name, ip, `, statefulset.kubernetes.io/pod-name: ${name}`);
const service = (name: string, spec: string, namespace = "default"): string => `
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: ${namespace}}
spec: ${spec}
---`;
const HEADLESS =
  "{clusterIP: None, selector: {app: web}, ports: [{name: http, port: 80}, {name: tcp, port: 90}, {port: 70}]}";

function irOf(text: string) {
  const { objects, issues } = load(pod("client", "10.0.0.1") + text, "t.yaml");
  expect(issues).toEqual([]);
  const world = buildWorld(objects);
  return { world, ir: resolve(world, world.workloads[0]!) };
}
const hostsOf = (text: string, port = "80") =>
  irOf(text).ir.outboundHttp.find((t) => t.name === port)?.virtualHosts ?? [];

test("a StatefulSet's pod has its names, its cluster, and its own identity, ready or not", () => {
  const unready = stateful("web-1", "10.0.0.3").replace('status: "True"', 'status: "False"');
  const { ir } = irOf(service("web", HEADLESS) + stateful("web-0", "10.0.0.2") + unready);
  const host = ir.outboundHttp[0]!.virtualHosts.find((h) => h.domains.includes("web-1.web"))!;
  expect(host.domains).toEqual([
    "web-1.web.default.svc.cluster.local",
    "web-1.web.default.svc.cluster.local.",
    "web-1.web",
    "web-1.web.default.svc",
    "web-1.web.default",
  ]);
  expect(host.routes[0]!.action).toMatchObject({
    destinations: [{ cluster: { host: "web-1.web.default.svc.cluster.local", port: 80 } }],
  });
  expect(ir.clusters.find((c) => c.host.startsWith("web-1.") && c.port === 80)).toMatchObject({
    endpoints: { kind: "static", endpoints: [{ address: "10.0.0.3", ready: true, meshTls: true }] },
    tls: { kind: "auto", sans: ["spiffe://cluster.local/ns/default/sa/web"] },
    service: { name: "web", host: "web.default.svc.cluster.local" },
  });
});

test("TCP and unnamed ports know a pod by its address; nothing takes what is dialled elsewhere", () => {
  const { ir } = irOf(service("web", HEADLESS) + pod("web-a", "10.0.0.2"));
  const at = ir.tcpServices.filter((s) => s.addresses.length > 0);
  expect(at.map((s) => `${s.addresses.join()}:${s.port}`).sort()).toEqual(["10.0.0.2:70", "10.0.0.2:90"]);
  expect(at.map((s) => s.destinations[0]!.cluster.host)).toEqual(
    Array(2).fill("10-0-0-2.web.default.svc.cluster.local"),
  );
  expect(ir.tcpServices.filter((s) => s.addresses.length === 0).every((s) => s.byNameOnly)).toBe(true);
});

test("a pod is named in the Service of its subdomain only, and once per port", () => {
  const twice = service("web", HEADLESS) + service("other", HEADLESS);
  const named = pod("web-0", "10.0.0.2").replace("spec: {", "spec: {hostname: first, subdomain: other, ");
  const domains = hostsOf(twice + named).flatMap((h) => h.domains);
  expect(domains).toContain("first.other");
  expect(domains).not.toContain("first.web");
  const addresses = irOf(twice + named).ir.tcpServices.flatMap((s) =>
    s.addresses.map((a) => `${a}:${s.port}`),
  );
  expect(new Set(addresses).size).toBe(addresses.length);
});

describe("ExternalName", () => {
  const real = service(
    "real",
    "{clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: http, port: 80}]}",
    "shop",
  );
  const alias = (name: string, to: string) => service(name, `{type: ExternalName, externalName: ${to}}`);
  test.for([
    "real.shop",
    "real.shop.svc",
    "real.shop.svc.cluster.local",
    "real.shop.svc.cluster.local.",
    "Real.Shop",
  ])("%s is the mesh's service: its host has the alias's names, too", (target) => {
    const hosts = hostsOf(real + alias("a", target));
    expect(hosts).toHaveLength(1);
    expect(hosts[0]!.domains).toEqual(
      expect.arrayContaining(["real.shop", "a", "a.default", "a.default.svc", "a.default.svc.cluster.local"]),
    );
  });

  test("chains end at the service; a ServiceEntry's host is one; a circle is told", () => {
    expect(
      hostsOf(real + alias("a", "b") + alias("b", "c.default") + alias("c", "real.shop"))[0]!.domains,
    ).toEqual(expect.arrayContaining(["a", "b", "c"]));
    const entry = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e}
spec: {hosts: [api.example], resolution: DNS, ports: [{number: 80, name: http}]}
---`;
    expect(hostsOf(entry + alias("a", "api.example"))[0]!.domains).toEqual(
      expect.arrayContaining(["api.example", "a"]),
    );
    const { world, ir } = irOf(
      alias("a", "b") + alias("b", "a") + alias("self", "self") + alias("into", "a"),
    );
    expect(ir.outboundHttp).toEqual([]);
    expect(validate(world).map((i) => `${i.code} ${i.object}`)).toEqual(
      ["a", "b", "self", "into"].map((n) => `alias-circle Service default/${n}`),
    );
  });

  test("a host outside: HTTP ports by name, everything else as dialled", () => {
    const ports = "ports: [{name: http, port: 80}, {name: tcp, port: 5432}, {port: 70}]";
    const { ir } = irOf(service("out", `{type: ExternalName, externalName: api.example, ${ports}}`));
    expect(ir.outboundHttp[0]!.virtualHosts[0]!.domains).toContain("out");
    expect(ir.tcpServices.every((s) => s.byNameOnly && s.addresses.length === 0)).toBe(true);
  });

  test("policies name the alias or its target alike", () => {
    const vs = (host: string, destination: string) => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec: {hosts: [${host}], http: [{timeout: 7s, route: [{destination: {host: ${destination}}}]}]}
---`;
    for (const [host, destination] of [
      ["a", "real.shop.svc.cluster.local"],
      ["real.shop.svc.cluster.local", "a"],
    ] as const) {
      const { world, ir } = irOf(real + alias("a", "real.shop") + vs(host, destination));
      expect(validate(world)).toEqual([]);
      expect(ir.outboundHttp[0]!.virtualHosts[0]!.routes[0]!.action).toMatchObject({
        timeoutMs: 7000,
        destinations: [{ cluster: { host: "real.shop.svc.cluster.local" } }],
      });
    }
  });
});

test("a targetPort whose name no pod has is warned of; one that some pod has, or without pods, is not", () => {
  const named = pod("web-0", "10.0.0.2").replace("containerPort: 80", "name: http, containerPort: 80");
  const told = (targetPort: string, pods: string): string[] => {
    const text = service("web", `{selector: {app: web}, ports: [{port: 80, targetPort: ${targetPort}}]}`);
    const { objects } = load(text + pods, "t.yaml");
    return validate(buildWorld(objects)).map(({ path, message }) => `${path}: ${message}`);
  };
  expect(told("htp", named)).toEqual([
    'spec.ports[0].targetPort: no pod that it selects has a port of the name "htp" (there are http): requests get 503',
  ]);
  expect(told("http", named + pod("web-1", "10.0.0.3"))).toEqual([]);
  expect(told("htp", pod("web-1", "10.0.0.3"))).toEqual([
    expect.stringContaining("none of theirs has a name"),
  ]);
  expect(told("htp", "")).toEqual([]);
  expect(told("8081", named)).toEqual([]);
});
