import { expect, test } from "vitest";
import { expand } from "./container-spec.ts";
import { type PlatformObject, record } from "./object.ts";
import { type PodTemplate, readTemplate } from "./spec.ts";

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

const templateOf = (object: PlatformObject): PodTemplate => readTemplate(object, {}, record(object.spec));

test("$(NAME) expands as Kubernetes does", () => {
  expect(expand("a $(B) $(NO) $$(B) $", { B: "b" })).toBe("a b $(NO) $(B) $");
});

test("probes name ports, times have Kubernetes' defaults", () => {
  const template = templateOf(
    pod({
      ports: [{ name: "web", containerPort: 81 }],
      livenessProbe: { tcpSocket: { port: "web" }, periodSeconds: 3 },
    }),
  );
  expect(template.containers[0]?.liveness).toEqual({
    action: { kind: "tcp", port: 81 },
    initialDelaySeconds: 0,
    periodSeconds: 3,
    timeoutSeconds: 1,
    successThreshold: 1,
    failureThreshold: 3,
  });
  expect(template.containers[0]?.cwd).toBe("/files");
});

test.each([
  [{ readinessProbe: {} }, "readinessProbe needs httpGet, tcpSocket, grpc or exec"],
  [
    { env: [{ name: "S", valueFrom: { secretKeyRef: {} } }] },
    "env S: valueFrom needs one of fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef",
  ],
  [
    { readinessProbe: { httpGet: { port: "nope" } } },
    'readinessProbe: port "nope" is not a port of the container',
  ],
])("an error is named with its place: %j", (container, fault) => {
  expect(() => templateOf(pod(container))).toThrow(`/files/a.yaml:7: Pod default/p: container c: ${fault}`);
});

test("another program changes the hash, the order of keys does not", () => {
  const of = (container: object): string => templateOf(pod(container)).hash;
  expect(of({ command: ["a"], env: [{ name: "A", value: "1" }] })).toBe(
    of({ env: [{ value: "1", name: "A" }], command: ["a"] }),
  );
  expect(of({ command: ["a"] })).not.toBe(of({ command: ["b"] }));
});
