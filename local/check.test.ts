import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { checkObjects } from "./check.ts";
import type { PlatformObject } from "./object.ts";

const dir = mkdtempSync(join(tmpdir(), "weft-check-"));
writeFileSync(join(dir, "run.sh"), "");
mkdirSync(join(dir, "data"));
symlinkSync("/etc", join(dir, "out"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function pod(container: object, spec: object = {}): PlatformObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "p" },
    spec: { containers: [{ name: "c", command: ["x"], ...container }], ...spec },
    source: { file: join(dir, "a.yaml"), line: 7 },
    line: (path) => 7 + path.length,
  };
}
const config: PlatformObject = {
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name: "app" },
  ...({ data: { mode: "fast" } } as object),
};
const says = (...objects: PlatformObject[]): string[] =>
  checkObjects([...objects, config]).map(
    ({ level, code, path, message }) => `${level} ${code} ${path}: ${message}`,
  );

const env = (valueFrom: object) => pod({ env: [{ name: "A", valueFrom }] });
const volume = (source: object) => pod({}, { volumes: [{ name: "v", ...source }] });

test.each<[string, PlatformObject, string]>([
  [
    "no command",
    pod({ command: [], image: "redis:7" }),
    'error missing-command spec.containers[0]: container c: no "command", and the image "redis:7" is not pulled on a local mesh; add the program to run',
  ],
  [
    "a program that is not there",
    pod({ command: ["./start.sh"] }),
    `error missing-program spec.containers[0].command[0]: ${dir}/start.sh does not exist`,
  ],
  [
    "an init container without a program",
    pod({}, { initContainers: [{ name: "i", image: "busybox" }] }),
    "error missing-command spec.initContainers[0]: container i",
  ],
  [
    "a folder of an image",
    pod({ workingDir: "/app/nowhere" }),
    "error missing-folder spec.containers[0].workingDir: /app/nowhere is no folder",
  ],
  [
    "a ConfigMap that is not there",
    env({ configMapKeyRef: { name: "ap", key: "mode" } }),
    "warning missing-reference spec.containers[0].env[0].valueFrom.configMapKeyRef: no ConfigMap default/ap",
  ],
  [
    "a key that is not there",
    env({ configMapKeyRef: { name: "app", key: "mod" } }),
    'warning missing-reference spec.containers[0].env[0].valueFrom.configMapKeyRef.key: ConfigMap default/app has no key "mod" (keys: mode)',
  ],
  [
    "a Secret that is not there",
    pod({ envFrom: [{ secretRef: { name: "s" } }] }),
    "warning missing-reference spec.containers[0].envFrom[0].secretRef: no Secret default/s",
  ],
  [
    "a volume's key",
    volume({ configMap: { name: "app", items: [{ key: "no", path: "x" }] } }),
    "warning missing-reference spec.volumes[0].configMap.items[0].key",
  ],
  [
    "a projected Secret",
    volume({ projected: { sources: [{ secret: { name: "s" } }] } }),
    "warning missing-reference spec.volumes[0].projected.sources[0].secret: no Secret default/s",
  ],
  [
    "a host path elsewhere",
    volume({ hostPath: { path: "/var/log" } }),
    `error foreign-path spec.volumes[0].hostPath.path: /var/log is not below ${dir}`,
  ],
  [
    "a host path that a link leads elsewhere",
    volume({ hostPath: { path: "./out/ssl" } }),
    "error foreign-path",
  ],
  [
    "a host path that is not there",
    volume({ hostPath: { path: "./later" } }),
    "warning missing-reference spec.volumes[0].hostPath.path",
  ],
  [
    "a claim that nobody made",
    volume({ persistentVolumeClaim: { claimName: "db" } }),
    "warning missing-reference spec.volumes[0].persistentVolumeClaim.claimName",
  ],
  [
    "a container that is not there",
    env({ resourceFieldRef: { containerName: "d", resource: "limits.cpu" } }),
    'error unknown-container spec.containers[0].env[0].valueFrom.resourceFieldRef.containerName: the pod has no container "d" (known: c)',
  ],
  [
    "one port for two containers",
    pod(
      { ports: [{ containerPort: 80 }] },
      {
        containers: [
          { name: "a", command: ["x"], ports: [{ containerPort: 80 }] },
          { name: "b", command: ["x"], ports: [{ containerPort: 80 }] },
        ],
      },
    ),
    "warning conflicting-port spec.containers[1].ports[0].containerPort: container a has port 80 already",
  ],
])("%s is told, with its field", (_, object, expected) => {
  expect(says(object)).toEqual([expect.stringContaining(expected)]);
});

test("what is there, is optional, or comes with a volume, is not told", () => {
  expect(
    says(
      pod({ command: ["./run.sh"] }),
      pod(
        {
          command: ["/opt/weft/run"],
          volumeMounts: [{ name: "v", mountPath: "/opt/weft" }],
          workingDir: "/opt/weft/x",
        },
        { volumes: [{ name: "v", hostPath: { path: "./data" } }] },
      ),
      env({ configMapKeyRef: { name: "app", key: "mode" } }),
      env({ secretKeyRef: { name: "s", key: "k", optional: true } }),
      volume({ hostPath: { path: "made", type: "DirectoryOrCreate" } }),
    ),
  ).toEqual([]);
});

test("what a controller would refuse is told at its field, of kinds without pods, too", () => {
  const template = { spec: { containers: [{ name: "c", command: ["x"] }] } };
  const of = (kind: string, spec: object): PlatformObject => ({ ...pod({}), kind, spec });
  const metric = { type: "Pods", pods: { metric: { name: "depth" }, target: { type: "Value", value: "1" } } };
  const issues = checkObjects([
    of("Deployment", { template, minReadySeconds: 9, progressDeadlineSeconds: 9 }),
    of("Job", { template, completionMode: "Indexed", parallelism: 2 }),
    of("CronJob", { schedule: "* * *", jobTemplate: { spec: { template } } }),
    of("CronJob", { schedule: "@hourly", jobTemplate: { spec: { template, maxFailedIndexes: 1 } } }),
    of("HorizontalPodAutoscaler", { scaleTargetRef: { name: "p" }, maxReplicas: 2, metrics: [metric] }),
  ]);
  expect(
    issues.map(({ object, path, line, message }) => `${object} ${path} ${line} ${message.slice(0, 24)}`),
  ).toEqual([
    "Deployment default/p spec.progressDeadlineSeconds 9 9 must be greater than m",
    "Job default/p spec.completions 9 is missing: completionMo",
    'CronJob default/p spec.schedule 9 "* * *" is no cron sched',
    "CronJob default/p spec.jobTemplate.spec.maxFailedIndexes 11 1 is for completionMode ",
    'HorizontalPodAutoscaler default/p spec.metrics[0].pods.metric.name 13 "depth" is not measured ',
  ]);
});

test("all pods of all kinds are looked at, at once, each issue at its own line", () => {
  const template = { spec: { containers: [{ name: "c", image: "i" }] } };
  const of = (kind: string, spec: object): PlatformObject => ({ ...pod({}), kind, spec });
  const issues = checkObjects([
    of("Deployment", { template }),
    of("StatefulSet", { template }),
    of("DaemonSet", { template }),
    of("Job", { template }),
    of("CronJob", { jobTemplate: { spec: { template } } }),
  ]);
  expect(issues.map(({ object, path, line }) => `${object} ${path} ${line}`)).toEqual([
    "Deployment default/p spec.template.spec.containers[0] 12",
    "StatefulSet default/p spec.template.spec.containers[0] 12",
    "DaemonSet default/p spec.template.spec.containers[0] 12",
    "Job default/p spec.template.spec.containers[0] 12",
    "CronJob default/p spec.jobTemplate.spec.template.spec.containers[0] 14",
  ]);
});
