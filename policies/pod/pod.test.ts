import { expect, test } from "vitest";
import { load } from "../load.ts";
import { sayIssue } from "../schema.ts";
import { showable } from "../secret/hidden.ts";

/** What the pod's spec says of `text`, which begins at line 4. */
function issues(text: string): string[] {
  return load(`apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n${text}`, "pod.yaml").issues.map(
    (issue) => `${issue.level} ${issue.code} ${sayIssue(issue)}`,
  );
}
const MAIN = "  containers:\n  - name: main\n    image: x\n";

test.each([
  ["  restartpolicy: Never\n", "restartPolicy", 8, "spec.restartpolicy"],
  ["    readinesProbe: {}\n", "readinessProbe", 8, "spec.containers[0].readinesProbe"],
  ["    comand: [a]\n", "command", 8, "spec.containers[0].comand"],
  ["    env: [{name: A, vale: b}]\n", "value", 8, "spec.containers[0].env[0].vale"],
  ["    securityContext: {runAsUsr: 1}\n", "runAsUser", 8, "spec.containers[0].securityContext.runAsUsr"],
  [
    "    livenessProbe: {httpGet: {prot: 1, port: 1}}\n",
    "port",
    8,
    "spec.containers[0].livenessProbe.httpGet.prot",
  ],
])("a misspelt field is an error with its line and what is meant: %s", (text, meant, line, path) => {
  expect(issues(MAIN + text)).toContain(
    `error unknown-field pod.yaml:${line}: Pod default/p: ${path}: unknown field "${path.split(".").at(-1)}": did you mean "${meant}"?`,
  );
});

test.each([
  ["  hostNetwork: true\n", "spec.hostNetwork"],
  ["  nodeSelector: {disk: ssd}\n", "spec.nodeSelector"],
  ["  affinity: {nodeAffinity: {}}\n", "spec.affinity"],
  ["    securityContext: {runAsUser: 1000}\n", "spec.containers[0].securityContext"],
  ["    tty: true\n", "spec.containers[0].tty"],
  ["    ports: [{containerPort: 80, hostPort: 80}]\n", "spec.containers[0].ports[0].hostPort"],
])("what a local mesh does not do is a warning, and the pod stays: %s", (text, path) => {
  const [only, ...others] = issues(MAIN + text);
  expect(only).toContain(`warning not-carried-out pod.yaml:8: Pod default/p: ${path}: `);
  expect(others).toEqual([]);
});

test("what kubectl prints of a plain pod, and what can change nothing on one machine, is taken without a word", () => {
  expect(
    issues(`  dnsPolicy: ClusterFirst
  enableServiceLinks: true
  hostNetwork: false
  priorityClassName: high
  restartPolicy: Always
  schedulerName: default-scheduler
  securityContext: {}
  terminationGracePeriodSeconds: 30
  tolerations: [{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300}]
  imagePullSecrets: [{name: r}]
${MAIN}    imagePullPolicy: IfNotPresent
    terminationMessagePath: /dev/termination-log
    terminationMessagePolicy: File
    volumeMounts: [{name: v, mountPath: /v, readOnly: true}]
  volumes: [{name: v, configMap: {name: c, defaultMode: 0644, items: [{key: a, path: b/c}]}}]
`),
  ).toEqual([]);
});

test.each([
  ["    readinessProbe: {httpGet: {port: web}}\n", 'the container has no port named "web" (named: none)'],
  [
    "    readinessProbe: {periodSeconds: 1}\n",
    "needs exactly one of exec, httpGet, tcpSocket, grpc: none is set",
  ],
  ["    livenessProbe: {tcpSocket: {port: 1}, successThreshold: 2}\n", "must be a whole number from 1 to 1"],
  ["    volumeMounts: [{name: data, mountPath: /d}]\n", 'the pod has no volume "data" (volumes: none)'],
  ["    env: [{name: A, value: 8080}]\n", 'must be a string, not 8080: write it in quotes, "8080"'],
  [
    "    env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.podIp}}}]\n",
    '"status.podIp" is no field of the downward API',
  ],
  ["    envFrom: [{prefix: A_}]\n", "needs exactly one of configMapRef, secretRef: none is set"],
  ["    resources: {limits: {memory: lots}}\n", 'must be a quantity such as "500m" or "64Mi", not "lots"'],
  ["    ports: [{containerPort: 1, name: Web}]\n", "must be at most 15 lower case letters"],
  ["    lifecycle: {preStop: {exec: {command: [a]}, sleep: {seconds: 1}}}\n", "exec and sleep are set"],
  ["  initContainers: [{name: main, image: x}]\n", '"main" stands twice: rename one'],
  ["  initContainers: [{name: a, readinessProbe: {tcpSocket: {port: 1}}}]\n", "an init container has none"],
  ["  volumes: [{name: a, emptyDir: {}, hostPath: {path: /}}]\n", "emptyDir and hostPath are set"],
  ["  volumes: [{name: a, nfs: {server: s}}]\n", 'field "nfs" is not supported yet'],
  ["  volumes: [{name: a, configMap: {name: c, items: [{key: k, path: ../x}]}}]\n", 'must not contain ".."'],
  [
    "  volumes: [{name: a, configMap: {name: c, items: [{key: k, path: ..data}]}}]\n",
    'must not begin with ".."',
  ],
  ["  volumes: [{name: a, persistentVolumeClaim: {claimName: ../../x}}]\n", 'not "../../x"'],
  ["  volumes: [{name: a, persistentVolumeClaim: {claimName: ..}}]\n", 'not ".."'],
  ["    volumeMounts: [{name: a, mountPath: /a, subPathExpr: ../$(A)}]\n", 'must not contain ".."'],
  ["  serviceAccountName: a/ns/b/sa/c\n", 'not "a/ns/b/sa/c"'],
  ["  serviceAccount: ../admin\n", 'not "../admin"'],
])("refused as Kubernetes refuses it: %s", (text, says) => {
  expect(issues(MAIN + text).join("\n")).toMatch(/^error /);
  expect(issues(MAIN + text).join("\n")).toContain(says);
});

test("a Secret's values are in no message", () => {
  const text = (fields: string) => `apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n${fields}`;
  for (const fields of [
    "data: {pin: hunter2!}",
    "data: {pin: 477747}",
    "stringData: {pin: 477747}",
    "dta: {pin: '477747'}",
  ]) {
    const { issues: found } = load(text(fields), "s.yaml");
    expect(found.length).toBe(1);
    expect(sayIssue(found[0]!)).not.toMatch(/477747|hunter2/);
  }
  expect(load(text('data: {pin: "NDc3NzQ3"}'), "s.yaml").issues).toEqual([]);
});

test("warnings do not push an error out of the list", () => {
  const containers = Array.from({ length: 60 }, (_, i) => `  - {name: c${i}, tty: true}\n`).join("");
  const found = issues(`  containers:\n${containers}  hostnetwork: true\n`);
  expect(found.some((line) => line.includes('did you mean "hostNetwork"'))).toBe(true);
});

test("what is shown of a Secret has its keys and no value, and cannot be applied by mistake", () => {
  const { objects } = load(
    `apiVersion: v1
kind: Secret
metadata:
  name: s
  annotations: {kubectl.kubernetes.io/last-applied-configuration: '{"data":{"pin":"aHVudGVyMg=="}}', note: kept}
data: {pin: aHVudGVyMg==}
stringData: {word: hunter2}
`,
    "s.yaml",
  );
  const text = JSON.stringify(showable(objects[0]!.raw));
  expect(text).not.toMatch(/hunter2|aHVudGVyMg/);
  expect(JSON.parse(text)).toMatchObject({
    metadata: { annotations: { note: "kept" } },
    data: { pin: "(not shown)", word: "(not shown)" },
  });
  expect(load(text, "again").issues.map(({ message }) => message)).toEqual(
    Array(2).fill("is not shown by `weft get`, so it cannot be applied: write the value"),
  );
});
