import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { type Loaded, load } from "#policies/index.ts";
import { parseConfig } from "../config.ts";
import { toWorld } from "../pipeline.ts";
import { unwritable } from "./dry-run.ts";
import { applyObjects } from "./objects.ts";

const config = parseConfig(
  JSON.stringify({ paths: [], stateDir: "s", listen: { grpc: [], admin: "unix:a", otlp: "unix:o" } }),
  "c.json",
);
const POD = `apiVersion: v1
kind: Pod
metadata: {name: shop-0, labels: {app: shop}}
spec: {serviceAccountName: a, containers: [{name: c, ports: [{containerPort: 80}]}]}
status: {phase: Running, podIP: 10.0.0.1, conditions: [{type: Ready, status: "True"}]}
`;
const SERVICE = `---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 80}]}
`;
const POLICIES = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: istio-system}
spec: {action: DENY, rules: [{}, {from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: r}
spec:
  hosts: [shop]
  http:
  - redirect: {uri: /x, redirectCode: 301}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: o}
spec: {host: shop, trafficPolicy: {outlierDetection: {maxEjectionPercent: 50}}}
`;
const base = load(POD + SERVICE, "base.yaml").objects;
const good = load(POLICIES, "new.yaml").objects;

/** As if a check were missing: what `load` would have let through. */
const bad = good.map((o): Loaded => {
  const spec = JSON.stringify(o.spec)
    .replace("10.0.0.0/8", "10.0.0.0/x")
    .replace(":301", ":305")
    .replace(":50}", ":50.5}");
  return { ...o, spec: JSON.parse(spec) };
});

it("what cannot be written is told of the object that came, by file and line, once", () => {
  const before = toWorld(base, config);
  const errors = (objects: readonly Loaded[]) =>
    unwritable(toWorld([...base, ...objects], config, before), objects, before, config).toSorted();
  expect(errors(good)).toEqual([]);
  expect(errors(bad)).toEqual([
    expect.stringMatching(/^new\.yaml:12: VirtualService default\/r: cannot be written: .*cannot answer 305/),
    expect.stringMatching(/^new\.yaml:14: DestinationRule default\/o: cannot be written: Cluster outbound/),
    expect.stringMatching(
      /^new\.yaml:4: AuthorizationPolicy istio-system\/p: cannot be written: Listener virtualInbound: /,
    ),
  ]);
});

it("what could not be written before refuses nobody else's objects", () => {
  const before = toWorld([...base, ...bad], config);
  const other = load(POLICIES.replace("name: p", "name: other"), "other.yaml").objects.slice(0, 1);
  const world = toWorld([...base, ...bad, ...other], config, before);
  expect(unwritable(world, other, before, config)).toEqual([]);
});

it("apply refuses it and keeps nothing", async () => {
  const stateDir = mkdtempSync(join(tmpdir(), "weft-dry-run-"));
  try {
    const broken = { ...config, stateDir, traceSampling: Number.NaN };
    const apply = applyObjects(
      [{ file: "s.yaml", text: SERVICE }],
      load(POD, "pod.yaml").objects,
      broken,
      toWorld([], broken),
    );
    await expect(apply).rejects.toMatchObject({
      status: 422,
      errors: expect.arrayContaining([
        expect.stringMatching(
          /^s\.yaml:2: Service default\/shop: cannot be written: Listener virtualInbound/,
        ),
      ]),
    });
    expect(readdirSync(stateDir)).toEqual([]);
  } finally {
    rmSync(stateDir, { recursive: true });
  }
});
