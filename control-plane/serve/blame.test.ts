import { expect, it } from "vitest";
import { load } from "#policies/index.ts";
import { TYPE } from "#xds/index.ts";
import { parseConfig } from "../config.ts";
import { resourcesFor, toWorld } from "../pipeline.ts";
import { blame } from "./blame.ts";

const pod = `apiVersion: v1
kind: Pod
metadata: {name: shop-0, labels: {app: shop}}
spec: {serviceAccountName: a, containers: [{name: c, ports: [{containerPort: 80}]}]}
status: {phase: Running, podIP: 10.0.0.1, conditions: [{type: Ready, status: "True"}]}
---
`;
const service = (name: string) => `apiVersion: v1
kind: Service
metadata: {name: ${name}}
spec: {clusterIP: 10.96.0.${name.length}, selector: {app: ${name}}, ports: [{name: http, port: 80}]}
---
`;
const vs = (name: string, value: string) => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}}
spec:
  hosts: [${name}]
  http:
  - headers: {request: {set: {x-share: "${value}"}}}
    route: [{destination: {host: ${name}}}]
---
`;
const rest = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: rule}
spec: {host: store, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: paths}
spec: {rules: [{to: [{operation: {paths: [/odd/path]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: names}
spec: {rules: [{to: [{operation: {hosts: [shop]}}]}]}
`;
const config = parseConfig(
  JSON.stringify({ paths: [], stateDir: "s", listen: { grpc: [], admin: "unix:a", otlp: null } }),
  "c.json",
);

it.each([
  ["a table that is not named, by the value that is quoted", TYPE.route, "invalid format: 'half'", ["shop"]],
  ["a table of which nothing is quoted: all that stand in it", TYPE.route, "bad", ["shop", "store"]],
  [
    "a cluster by its name",
    TYPE.cluster,
    "Error adding/updating cluster(s) outbound|80||store.default.svc.cluster.local: bad",
    ["rule"],
  ],
  [
    "a listener by the value",
    TYPE.listener,
    "Error adding/updating listener(s) virtualInbound: uri_template /odd/path is invalid",
    ["paths"],
  ],
  [
    "a listener of which nothing is quoted",
    TYPE.listener,
    "Error adding/updating listener(s) virtualInbound: x",
    ["names", "paths"],
  ],
  ["nothing where no policy stands", TYPE.cluster, "cluster(s) PassthroughCluster: bad", []],
])("names the policy behind a refusal: %s", (_, type, nack, names) => {
  const text = pod + service("shop") + service("store") + vs("shop", "half") + vs("store", "full") + rest;
  const world = toWorld(load(text, "t.yaml").objects, config);
  const node = {
    ip: "10.0.0.1",
    namespace: "default",
    serviceAccount: null,
    flavour: "envoy-stock",
  } as const;
  const { resources } = resourcesFor(world, node, config)!;
  const found = blame(world, type, resources, nack);
  expect(found.map(({ object }) => object.split("/")[1]).toSorted()).toEqual(names);
  for (const { file, line } of found) expect([file, line > 10]).toEqual(["t.yaml", true]);
});
