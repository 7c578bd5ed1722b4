import { expect, it } from "vitest";
import { buildWorld, load } from "#policies/index.ts";
import { workloads } from "./workloads.ts";

const TEXT = `apiVersion: v1
kind: Pod
metadata: {name: a-0, labels: {app: a}, ownerReferences: [{kind: Deployment, name: a}]}
spec: {serviceAccountName: robot, containers: [{name: c, ports: [{containerPort: 80}, {containerPort: 81}]}]}
status: {phase: Running, podIP: 10.0.0.1, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: own}
spec:
  selector: {matchLabels: {app: a}}
  portLevelMtls:
    81: {mode: DISABLE}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: mesh, namespace: istio-system}
spec:
  mtls: {mode: STRICT}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: get}
spec:
  rules:
  - to: [{operation: {methods: [GET]}}]
  - to: [{operation: {methods: [HEAD]}}]
`;

it("says which statement decides mTLS of each port, and which authorization rules hold, by line", () => {
  const [pod] = workloads(buildWorld(load(TEXT, "a.yaml").objects)).workloads;
  expect(pod).toMatchObject({
    pod: "a-0",
    workload: "a",
    spiffeId: "spiffe://cluster.local/ns/default/sa/robot",
    ready: true,
  });
  expect(pod?.inbound.map((p) => [p.port, p.mtls, `${p.mtlsSource?.name} ${p.mtlsSource?.line}`])).toEqual([
    [80, "STRICT", "mesh 19"],
    [81, "DISABLE", "own 13"],
  ]);
  expect(pod?.authorization).toMatchObject([
    {
      action: "ALLOW",
      source: { name: "get", line: 21 },
      rules: [{ source: { line: 26 } }, { source: { line: 27 } }],
    },
  ]);
});
