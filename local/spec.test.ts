import { expect, test } from "vitest";
import { expand } from "./container-spec.ts";
import type { PlatformObject } from "./object.ts";
import { podTemplates } from "./spec.ts";

function pod(container: object, over: Partial<PlatformObject> = {}): PlatformObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "p" },
    spec: { containers: [{ name: "c", command: ["x"], ...container }] },
    source: { file: "/files/a.yaml", line: 7 },
    ...over,
  };
}

test("$(NAME) expands as Kubernetes does", () => {
  expect(expand("a $(B) $(NO) $$(B) $", { B: "b" })).toBe("a b $(NO) $(B) $");
});

test("probes name ports, times have Kubernetes' defaults", () => {
  const [template] = podTemplates([
    pod({
      ports: [{ name: "web", containerPort: 81 }],
      livenessProbe: { tcpSocket: { port: "web" }, periodSeconds: 3 },
    }),
  ]);
  expect(template?.containers[0]?.liveness).toEqual({
    action: { kind: "tcp", port: 81 },
    initialDelaySeconds: 0,
    periodSeconds: 3,
    timeoutSeconds: 1,
    successThreshold: 1,
    failureThreshold: 3,
  });
  expect(template?.containers[0]?.cwd).toBe("/files");
});

test("every error is named with its place, all at once", () => {
  const bad = [
    pod({ readinessProbe: {} }),
    pod({ env: [{ name: "S", valueFrom: { secretKeyRef: {} } }] }),
    pod({ readinessProbe: { httpGet: { port: "nope" } } }),
  ];
  const deployment = { ...pod({}), kind: "Deployment", spec: { replicas: -1 } };
  expect(() => podTemplates([...bad, deployment])).toThrow(
    [
      "/files/a.yaml:7: Pod default/p: container c: readinessProbe needs httpGet, tcpSocket, grpc or exec",
      "/files/a.yaml:7: Pod default/p: container c: env S: valueFrom needs one of fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef",
      '/files/a.yaml:7: Pod default/p: container c: readinessProbe: port "nope" is not a port of the container',
      "/files/a.yaml:7: Deployment default/p: spec.replicas: -1 is not a whole number from 0 up",
    ].join("\n"),
  );
});

test("replicas do not change the hash, the rest of the template does", () => {
  const of = (replicas: number, image: string): string | undefined =>
    podTemplates([
      {
        ...pod({}),
        kind: "Deployment",
        spec: { replicas, template: { spec: { containers: [{ name: "c", command: [image] }] } } },
      },
    ])[0]?.hash;
  expect(of(1, "a")).toBe(of(5, "a"));
  expect(of(1, "a")).not.toBe(of(1, "b"));
});
