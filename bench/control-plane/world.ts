/** A generated mesh: services, each with two pods, in ten namespaces; one in ten is split by a VirtualService. */
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const NAMESPACES = 10;

export interface Pod {
  readonly name: string;
  readonly namespace: string;
  readonly ip: string;
  readonly account: string;
}

const namespaceOf = (i: number): string => `team-${i % NAMESPACES}`;

export function podsOf(services: number): Pod[] {
  return Array.from({ length: services * 2 }, (_, n) => {
    const i = n >> 1;
    return {
      name: `svc-${i}-${n % 2}`,
      namespace: namespaceOf(i),
      ip: `10.${100 + (n >> 14)}.${(n >> 7) & 127}.${(n & 127) + 1}`,
      account: `svc-${i}`,
    };
  });
}

/** platform.json, renamed into place; the pods in `unready` have failed their probe. */
export function writePlatform(folder: string, services: number, unready: ReadonlySet<string>): void {
  const items = podsOf(services).map((pod, n) => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: pod.name,
      namespace: pod.namespace,
      labels: { app: pod.account, version: `v${(n % 2) + 1}`, "security.istio.io/tlsMode": "istio" },
    },
    spec: {
      serviceAccountName: pod.account,
      containers: [{ name: "app", ports: [{ name: "http", containerPort: 8080 }] }],
    },
    status: {
      phase: "Running",
      podIP: pod.ip,
      conditions: [{ type: "Ready", status: unready.has(pod.name) ? "False" : "True" }],
    },
  }));
  const file = join(folder, "platform.json");
  writeFileSync(`${file}.new`, JSON.stringify({ apiVersion: "v1", kind: "List", items }));
  renameSync(`${file}.new`, file);
}

export function writePolicies(folder: string, services: number): void {
  mkdirSync(join(folder, "policies"), { recursive: true });
  for (let n = 0; n < NAMESPACES; n++) {
    const documents: string[] = [];
    for (let i = n; i < services; i += NAMESPACES) {
      const [c, d] = [i >> 8, i & 255];
      documents.push(
        `apiVersion: v1\nkind: Service\nmetadata: {name: svc-${i}, namespace: ${namespaceOf(i)}}\nspec: {clusterIP: 10.96.${c}.${d}, selector: {app: svc-${i}}, ports: [{name: http, port: 80, targetPort: 8080}]}\n`,
      );
      if (i % 100 < NAMESPACES)
        documents.push(
          `apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: svc-${i}, namespace: ${namespaceOf(i)}}\nspec: {host: svc-${i}, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}\n`,
        );
    }
    writeFileSync(join(folder, "policies", `team-${n}.yaml`), documents.join("---\n"));
  }
  writeRoute(folder, 90);
}

/** One VirtualService in a file of its own: the route change. */
export function writeRoute(folder: string, weight: number): void {
  const file = join(folder, "policies", "route.yaml");
  writeFileSync(
    `${file}.new`,
    `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: svc-0, namespace: team-0}
spec:
  hosts: [svc-0]
  http:
  - route:
    - {destination: {host: svc-0, subset: v1}, weight: ${weight}}
    - {destination: {host: svc-0, subset: v2}, weight: ${100 - weight}}
`,
  );
  renameSync(`${file}.new`, file);
}
