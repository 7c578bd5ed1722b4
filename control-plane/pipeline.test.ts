import { fromBinary } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { load } from "#policies/index.ts";
import { RouteConfigurationSchema } from "#xds/gen/envoy/config/route/v3/route_pb.js";
import { parseConfig } from "./config.ts";
import { resourcesFor, toWorld } from "./pipeline.ts";

const config = parseConfig(
  JSON.stringify({ paths: [], stateDir: "s", listen: { grpc: [], admin: "unix:a", otlp: "unix:/run/o" } }),
  "c.json",
);
const pod = (name: string, ip: string, annotations = "{}") => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: default, labels: {app: reviews, security.istio.io/tlsMode: istio}, annotations: ${annotations}}
spec: {serviceAccountName: reviews, containers: [{name: c, ports: [{containerPort: 9080}]}]}
status: {phase: Running, podIP: ${ip}, conditions: [{type: Ready, status: "True"}]}
---`;
const objects = load(
  `${pod("a", "10.244.0.5")}${pod("b", "127.0.1.2", '{weft.dev/mode: explicit, weft.dev/app-address: 127.0.2.2, weft.dev/service-prefix: "127.21"}')}
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {clusterIP: 10.96.0.7, selector: {app: reviews}, ports: [{name: http, port: 9080}]}
`,
  "t.yaml",
).objects;

function resourcesOf(ip: string, serviceAccount: string | null = null) {
  const set = resourcesFor(
    toWorld(objects, config),
    { ip, namespace: "default", serviceAccount, flavour: "envoy-stock" },
    config,
  )?.resources;
  if (set === undefined) throw new Error(`no pod at ${ip}`);
  const names = (type: string) => [...(set.get(`type.googleapis.com/envoy.config.${type}`)?.keys() ?? [])];
  return { set, names };
}

describe("pipeline", () => {
  it("lays a transparent pod out as istiod does", () => {
    const { names } = resourcesOf("10.244.0.5");
    expect(names("listener.v3.Listener")).toEqual(["0.0.0.0_9080", "virtualOutbound", "virtualInbound"]);
    expect(names("cluster.v3.Cluster")).toContain("inbound|9080||");
    expect(names("endpoint.v3.ClusterLoadAssignment")).toEqual([
      "outbound|9080||reviews.default.svc.cluster.local",
    ]);
  });
  it("is for the account of the pod alone, whose address anybody may name", () => {
    expect(resourcesOf("10.244.0.5", "reviews").names("listener.v3.Listener")).toHaveLength(3);
    expect(() => resourcesOf("10.244.0.5", "ratings")).toThrow("no pod");
  });
  it("binds an explicit pod's own addresses", () => {
    const { names } = resourcesOf("127.0.1.2");
    expect(names("listener.v3.Listener")).toEqual(["127.21.0.7_9080", "127.21.0.1_15001", "127.0.1.2_9080"]);
    expect(names("route.v3.RouteConfiguration")).toContain("http_proxy");
  });
  it("equal input gives equal versions, and routes end in allow_any", () => {
    const [one, two] = [resourcesOf("10.244.0.5").set, resourcesOf("10.244.0.5").set];
    const url = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
    expect(one.get(url)?.get("9080")?.version).toBe(two.get(url)?.get("9080")?.version);
    const table = fromBinary(RouteConfigurationSchema, one.get(url)?.get("9080")?.any.value as Uint8Array);
    expect(table.virtualHosts.at(-1)?.name).toBe("allow_any");
  });
  it("a gateway enforces the authorization policies that select it", () => {
    const { objects: edge } = load(
      `apiVersion: v1
kind: Pod
metadata: {name: gw, namespace: default, labels: {app: gw}}
spec: {serviceAccountName: gw, containers: [{name: istio-proxy}]}
status: {phase: Running, podIP: 10.244.0.9, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec: {selector: {app: gw}, servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: edge, namespace: default}
spec: {selector: {matchLabels: {app: gw}}, rules: [{to: [{operation: {methods: [GET]}}]}]}
`,
      "g.yaml",
    );
    const node = {
      ip: "10.244.0.9",
      namespace: "default",
      serviceAccount: null,
      flavour: "envoy-stock",
    } as const;
    const listeners = resourcesFor(toWorld(edge, config), node, config)?.resources.get(
      "type.googleapis.com/envoy.config.listener.v3.Listener",
    );
    const bytes = [...(listeners?.values() ?? [])].map(({ any }) =>
      Buffer.from(any.value).toString("latin1"),
    );
    expect(bytes.length).toBe(1);
    expect(bytes[0]).toContain("envoy.filters.http.rbac");
    expect(bytes[0]).toContain("edge");
  });
});
