import { expect, test } from "vitest";
import { gatewayProxies } from "./gateway-proxies.ts";
import { type PlatformObject, record } from "./object.ts";

const gateway = (gatewayClassName: string, ports: number[], namespace?: string): PlatformObject => ({
  apiVersion: "gateway.networking.k8s.io/v1",
  kind: "Gateway",
  metadata: { name: "door", ...(namespace === undefined ? {} : { namespace }) },
  spec: { gatewayClassName, listeners: ports.map((port, i) => ({ name: `l${i}`, port, protocol: "HTTP" })) },
  source: { file: "door.yaml", line: 4 },
});
const label = { "gateway.networking.k8s.io/gateway-name": "door" };
const object = (kind: string, name: string, spec: object, namespace?: string): PlatformObject => ({
  apiVersion: "v1",
  kind,
  metadata: { name, ...(namespace === undefined ? {} : { namespace }) },
  spec,
});

test("a Deployment and a LoadBalancer Service NAME-CLASS with the listeners' ports, placed where the Gateway stands", () => {
  const [service, deployment] = gatewayProxies([gateway("istio", [80, 8080, 443, 80], "shop")]);
  expect(service).toMatchObject({
    kind: "Service",
    metadata: { name: "door-istio", namespace: "shop" },
    spec: { type: "LoadBalancer", selector: label },
    source: { file: "door.yaml", line: 4 },
  });
  // The proxy opens no port below 1024, and no port twice.
  expect(record(service?.spec)["ports"]).toEqual([
    { name: "http-80", port: 80, targetPort: 8081 },
    { name: "http-443", port: 443, targetPort: 8443 },
    { name: "http-8080", port: 8080, targetPort: 8080 },
  ]);
  expect(deployment).toMatchObject({
    kind: "Deployment",
    metadata: { name: "door-istio", namespace: "shop" },
    spec: {
      template: {
        metadata: { labels: label, annotations: { "inject.istio.io/templates": "gateway" } },
        spec: { serviceAccountName: "door-istio" },
      },
    },
  });
});

test("nothing for other classes, other Gateways, and where somebody brought the proxy", () => {
  const door = gateway("istio", [80]);
  const own = object("Deployment", "mine", { template: { metadata: { labels: label } } });
  expect(gatewayProxies([gateway("nginx", [80])])).toEqual([]);
  expect(gatewayProxies([{ ...door, apiVersion: "networking.istio.io/v1" }])).toEqual([]);
  expect(gatewayProxies([door, own])).toEqual([]);
  expect(gatewayProxies([door, object("Service", "door-istio", {})])).toEqual([]);
  expect(gatewayProxies([door, object("Service", "door-istio", {}, "shop")])).toHaveLength(2);
  const custom = object("GatewayClass", "mesh", { controllerName: "istio.io/gateway-controller" });
  expect(gatewayProxies([gateway("mesh", [80]), custom])[0]?.metadata.name).toBe("door-mesh");
});
