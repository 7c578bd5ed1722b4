/** One case: its policies beside the common mesh, through the whole control plane to the resources of a pod. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { parseConfig } from "#control-plane/config.ts";
import { resourcesFor, toWorld } from "#control-plane/pipeline.ts";
import { load, validate, type World } from "#policies/index.ts";
import { casesIn, readCase } from "#test/harness/golden.ts";
import type { ResourceSet } from "#xds/index.ts";

export const folder = join(import.meta.dirname, "testdata");
export const SUFFIX = ".in.yaml";
export const cases = casesIn(folder, SUFFIX);

export const config = parseConfig(
  JSON.stringify({
    paths: [],
    stateDir: "s",
    listen: { grpc: [], admin: "unix:a", otlp: null },
    accessLog: false,
  }),
  "case",
);
const base = load(readFileSync(join(folder, "base.yaml"), "utf8"), "base.yaml").objects;

export interface Case {
  readonly text: string;
  readonly world: World;
}

export function readWorld(name: string): Case {
  const text = readCase(folder, name, SUFFIX);
  const given = load(text, `${name}${SUFFIX}`);
  const world = toWorld([...base, ...given.objects], config);
  // "# warns CODE": what the case shows is worth a word.
  const told = [...text.matchAll(/^# warns (\S+)$/gm)].map((m) => m[1]);
  expect([...given.issues, ...validate(world)].map((i) => i.code)).toEqual(told);
  return { text, world };
}

export function resourcesOf(world: World, pod: string, flavour: "weft" | "envoy-stock"): ResourceSet {
  const workload = world.workloads.find((w) => w.pod === pod);
  if (workload === undefined) throw new Error(`no pod ${pod} in the mesh of the cases`);
  const made = resourcesFor(world, { ...workload, flavour }, config);
  expect(made?.unwritten).toEqual([]);
  return made!.resources;
}
