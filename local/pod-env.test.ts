import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { expect, test } from "vitest";
import { readContainer } from "./container-spec.ts";
import type { PlatformObject } from "./object.ts";
import { containerEnv, usersPath } from "./pod-env.ts";
import type { PodFields } from "./volumes/data.ts";

const pod: PodFields = {
  name: "p-0",
  namespace: "shop",
  uid: "u-1",
  serviceAccount: "robot",
  podIp: "10.0.0.7",
  hostIp: "10.0.0.1",
  labels: { app: "p", "app.kubernetes.io/name": "q" },
  annotations: { note: 'a "b"' },
  containers: [{ name: "c", limits: { memory: 64 * 2 ** 20 }, requests: { cpu: 0.25, memory: 2 ** 20 } }],
  machine: { cpu: 8, memory: 2 ** 34 },
};
const data = (kind: string, name: string, fields: object, namespace = "shop"): PlatformObject => ({
  apiVersion: "v1",
  kind,
  metadata: { name, namespace },
  ...fields,
});
const objects = [
  data("ConfigMap", "app", {
    data: { A: "1", B: "two" },
    binaryData: { C: Buffer.from("ü").toString("base64") },
  }),
  data("ConfigMap", "app", { data: { A: "other namespace" } }, "default"),
  data("Secret", "db", {
    data: { user: Buffer.from("root").toString("base64"), pw: "b2xk" },
    stringData: { pw: "new" },
  }),
];

function envOf(container: object): Record<string, string> {
  const spec = readContainer(data("Pod", "p", {}), { name: "c", command: ["x"], ...container });
  return containerEnv(spec, { pod, objects, base: { BASE: "b", A: "base" } });
}
const one = (valueFrom: object) => envOf({ env: [{ name: "X", valueFrom }] })["X"];

test("the order is Kubernetes': base, envFrom, env; $(NAME) sees what stands before it", () => {
  expect(
    envOf({
      envFrom: [{ configMapRef: { name: "app" } }, { prefix: "DB_", secretRef: { name: "db" } }],
      env: [
        { name: "B", value: "mine" },
        { name: "URL", value: "$(DB_user):$(DB_pw)@$(B)/$(NO)/$$(B)" },
      ],
    }),
  ).toEqual({
    BASE: "b",
    A: "1",
    B: "mine",
    C: "ü",
    DB_user: "root",
    DB_pw: "new",
    URL: "root:new@mine/$(NO)/$(B)",
  });
});

test.each([
  [{ fieldRef: { fieldPath: "metadata.name" } }, "p-0"],
  [{ fieldRef: { fieldPath: "metadata.namespace" } }, "shop"],
  [{ fieldRef: { fieldPath: "metadata.uid" } }, "u-1"],
  [{ fieldRef: { fieldPath: "spec.nodeName" } }, "local"],
  [{ fieldRef: { fieldPath: "spec.serviceAccountName" } }, "robot"],
  [{ fieldRef: { fieldPath: "status.hostIP" } }, "10.0.0.1"],
  [{ fieldRef: { fieldPath: "status.podIP" } }, "10.0.0.7"],
  [{ fieldRef: { fieldPath: "status.podIPs" } }, "10.0.0.7"],
  [{ fieldRef: { fieldPath: "metadata.labels['app.kubernetes.io/name']" } }, "q"],
  [{ fieldRef: { fieldPath: "metadata.annotations['note']" } }, 'a "b"'],
  [{ resourceFieldRef: { resource: "limits.memory" } }, String(64 * 2 ** 20)],
  [{ resourceFieldRef: { resource: "limits.memory", divisor: "1Mi" } }, "64"],
  [{ resourceFieldRef: { resource: "requests.cpu", divisor: "1m" } }, "250"],
  [{ resourceFieldRef: { resource: "requests.cpu" } }, "1"],
  [{ resourceFieldRef: { resource: "limits.cpu" } }, "8"],
  [{ configMapKeyRef: { name: "app", key: "B" } }, "two"],
  [{ secretKeyRef: { name: "db", key: "pw" } }, "new"],
  [{ secretKeyRef: { name: "no", key: "pw", optional: true } }, undefined],
  [{ configMapKeyRef: { name: "app", key: "no", optional: true } }, undefined],
])("valueFrom %j", (from, value) => {
  expect(one(from)).toBe(value);
});

test.each([
  [
    { env: [{ name: "X", valueFrom: { configMapKeyRef: { name: "ap", key: "A" } } }] },
    "ConfigMap shop/ap does not exist",
  ],
  [
    { env: [{ name: "X", valueFrom: { secretKeyRef: { name: "db", key: "no" } } }] },
    'Secret shop/db has no key "no"',
  ],
  [{ envFrom: [{ secretRef: { name: "gone" } }] }, "Secret shop/gone does not exist"],
])("what is missing is awaited in words: %j", (container, says) => {
  expect(() => envOf(container)).toThrow(says);
});

test("node is the user's own where there is one; what npm put before it for us comes last", () => {
  const dir = mkdtempSync(join(tmpdir(), "weft-path-"));
  try {
    const own = join(dir, "node_modules", "node", "bin", "node");
    const bin = join(dir, "node_modules", ".bin");
    const other = join(dir, "app", "node_modules", ".bin");
    for (const folder of [dirname(own), bin, other]) mkdirSync(folder, { recursive: true });
    writeFileSync(own, "");
    symlinkSync(own, join(bin, "node"));
    const path = [bin, other, "/usr/bin"].join(delimiter);
    expect(usersPath(path, own).split(delimiter)).toEqual([other, "/usr/bin", bin, dirname(own)]);
    expect(usersPath("/usr/bin", own).split(delimiter)).toEqual(["/usr/bin", dirname(own)]);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
