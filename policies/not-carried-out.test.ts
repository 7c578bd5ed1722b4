/** What the data plane cannot do yet is a warning with its place, never silence. */
import { expect, test } from "vitest";
import { buildWorld } from "./build-world.ts";
import { load } from "./load.ts";
import { validate } from "./validate.ts";

const SERVICE = `apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ name: http, port: 80 }] }
---
`;

function warnings(text: string): string[] {
  const { objects, issues } = load(SERVICE + text, "test.yaml");
  const all = [...issues, ...validate(buildWorld(objects))];
  return all.filter(({ code }) => code === "not-carried-out").map(({ line, path }) => `${line} ${path}`);
}

const rule = (policy: string): string => `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: web }
spec:
  host: web
  ${policy}
`;

test.each([
  [
    "trafficPolicy: { connectionPool: { tcp: { maxConnections: 1 } } }",
    ["connectionPool.tcp.maxConnections"],
  ],
  [
    "trafficPolicy: { connectionPool: { http: { http1MaxPendingRequests: 1, http2MaxRequests: 2 } } }",
    ["connectionPool.http.http1MaxPendingRequests", "connectionPool.http.http2MaxRequests"],
  ],
  [
    "trafficPolicy: { connectionPool: { http: { h2UpgradePolicy: UPGRADE } } }",
    ["connectionPool.http.h2UpgradePolicy"],
  ],
  ["trafficPolicy: { tls: { mode: SIMPLE } }", []],
  ["trafficPolicy: { outlierDetection: { consecutive5xxErrors: 1 } }", ["outlierDetection"]],
  [
    "trafficPolicy: { portLevelSettings: [{ port: { number: 80 }, outlierDetection: { interval: 1s } }] }",
    ["portLevelSettings[0].outlierDetection"],
  ],
  [
    "trafficPolicy: { connectionPool: { tcp: { maxConnectionDuration: 1h } } }",
    ["connectionPool.tcp.maxConnectionDuration"],
  ],
  [
    "trafficPolicy: { connectionPool: { tcp: { tcpKeepalive: { time: 9s, probes: 3 } } } }",
    ["connectionPool.tcp.tcpKeepalive.probes"],
  ],
  [
    "trafficPolicy: { connectionPool: { http: { maxConcurrentStreams: 3 } } }",
    ["connectionPool.http.maxConcurrentStreams"],
  ],
  ["trafficPolicy: { connectionPool: { http: { maxRetries: 1, maxRequestsPerConnection: 1 } } }", []],
  ["trafficPolicy: { tls: { mode: ISTIO_MUTUAL } }", []],
])("DestinationRule %s", (policy, fields) => {
  expect(warnings(rule(policy))).toEqual(fields.map((field) => `11 spec.trafficPolicy.${field}`));
});

test("of a subset, too", () => {
  expect(
    warnings(rule("subsets: [{ name: v1, trafficPolicy: { outlierDetection: { interval: 1s } } }]")),
  ).toEqual(["11 spec.subsets[0].trafficPolicy.outlierDetection"]);
});

test.each([
  ["name: grpc", ["name"]],
  ["name: http2-api", ["name"]],
  ["name: web, appProtocol: kubernetes.io/h2c", ["appProtocol"]],
  ["name: http", []],
  ["name: tcp-grpc", []],
])("Service port %s", (port, fields) => {
  const text = `apiVersion: v1
kind: Service
metadata: { name: api }
spec: { selector: { app: api }, ports: [{ port: 81, ${port} }] }
`;
  expect(warnings(text)).toEqual(fields.map((field) => `9 spec.ports[0].${field}`));
});
