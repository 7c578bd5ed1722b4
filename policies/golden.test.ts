import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { stringify } from "yaml";
import type { WorkloadIr } from "#ir/index.ts";
import { casesIn, expectGolden, expectNoOrphans, readCase } from "#test/harness/golden.ts";
import { buildWorld, load, resolve } from "./index.ts";

/** What each kind has a say in; the rest of the IR would only hide it. */
const SAYS: Readonly<Record<string, readonly (keyof WorkloadIr)[]>> = {
  "authorization-policy": ["authorization"],
  "destination-rule": ["clusters"],
  gateway: ["kind", "gatewayListeners"],
  "gateway-api": ["kind", "gatewayListeners"],
  "http-route": ["outboundHttp"],
  "peer-authentication": ["inbound", "defaultMtls"],
  service: ["inbound", "outboundHttp", "clusters"],
  "service-entry": ["outboundHttp", "tcpServices", "clusters"],
  "virtual-service": ["outboundHttp", "tcpServices"],
};
const base = readFileSync(join(import.meta.dirname, "testdata/base.yaml"), "utf8");

describe.each(Object.keys(SAYS))("%s: policy to IR", (kind) => {
  const folder = join(import.meta.dirname, kind, "testdata");
  test.each(casesIn(folder, ".in.yaml"))("%s", (name) => {
    const text = readCase(folder, name, ".in.yaml");
    const given = load(text, `${name}.in.yaml`);
    const { objects } = load(base, "base.yaml");
    expect(given.issues).toEqual([]);
    // "# for POD": whose IR is shown.
    const pod = /^# for (\S+)$/m.exec(text)?.[1] ?? "client";
    const world = buildWorld([...objects, ...given.objects]);
    const workload = world.workloads.find((w) => w.pod === pod);
    if (workload === undefined) throw new Error(`${name}: no pod ${pod}`);
    const ir = resolve(world, workload);
    const shown = Object.fromEntries(SAYS[kind]!.map((key) => [key, ir[key]]));
    expectGolden(
      folder,
      `${name}.ir.yaml`,
      stringify(brief(shown), { lineWidth: 110, aliasDuplicateObjects: false }),
    );
  });
  test("no orphans, and at least one case", () => {
    expectNoOrphans(folder, ".in.yaml", [".ir.yaml"]);
    expect(casesIn(folder, ".in.yaml")).not.toEqual([]);
  });
});

test("every folder with testdata is looked at", () => {
  const withData = readdirSync(import.meta.dirname).filter((d) =>
    existsSync(join(import.meta.dirname, d, "testdata")),
  );
  expect(withData.filter((d) => !Object.hasOwn(SAYS, d))).toEqual([]);
});

/** Without what says nothing (null, empty), what only the base brings, and sources in one word. */
function brief(value: unknown): unknown {
  if (Array.isArray(value)) return value.filter((v) => !fromBase(v)).map(brief);
  if (typeof value !== "object" || value === null) return value;
  const { file, line, kind } = value as Record<string, unknown>;
  if (typeof file === "string" && typeof line === "number") return `${kind} ${file}:${line}`;
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, v]) => [key, brief(v)] as const)
      .filter(
        ([, v]) => v !== null && v !== undefined && !(Array.isArray(v) && v.length === 0) && !isEmpty(v),
      ),
  );
}

function isEmpty(v: unknown): boolean {
  return typeof v === "object" && v !== null && Object.keys(v).length === 0;
}

/** Services of the base that no policy of the case touches. */
function fromBase(v: unknown): boolean {
  if (typeof v !== "object" || v === null) return false;
  const { source, routes, subset, inline, lb, name } = v as Record<string, unknown>;
  if (Array.isArray(routes))
    return routes.length === 1 && routes[0].source === null && !String(name).includes("case");
  return (
    subset !== undefined &&
    lb !== undefined &&
    source === null &&
    inline === undefined &&
    !JSON.stringify(v).includes("case")
  );
}
