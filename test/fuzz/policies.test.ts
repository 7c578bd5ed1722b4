/**
 * Whatever the control plane accepts it can write, and whatever it writes our sidecar and a stock Envoy take: documents
 * of every kind, made from the schemas. `npm run fuzz` goes on for FUZZ_SECONDS (900) from a seed of its own, or FUZZ_SEED.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseConfig } from "#control-plane/config.ts";
import { resourcesFor, toWorld } from "#control-plane/pipeline.ts";
import { load, validate, type World } from "#policies/index.ts";
import { KINDS, type KindKey } from "#policies/kinds.ts";
import { ConfigStore } from "#sidecar/config/store.ts";
import { Envoys, missingEnvoys } from "#test/harness/envoys.ts";
import type { ResourceSet } from "#xds/index.ts";
import { type Document, generate } from "./documents.ts";
import { fieldsIn, fieldsOf } from "./generate.ts";
import { MESH, PODS } from "./mesh.ts";

const KIND_KEYS: readonly KindKey[] = [
  "networking.istio.io/VirtualService",
  "networking.istio.io/DestinationRule",
  "networking.istio.io/Gateway",
  "networking.istio.io/ServiceEntry",
  "security.istio.io/AuthorizationPolicy",
  "security.istio.io/PeerAuthentication",
  "gateway.networking.k8s.io/HTTPRoute",
  "gateway.networking.k8s.io/Gateway",
  "/Service",
];
/** Of one kind; without a wish a number of batches that takes CI a few seconds. */
const SECONDS =
  process.env["FUZZ_SECONDS"] === undefined ? null : Number(process.env["FUZZ_SECONDS"]) / KIND_KEYS.length;
const SEED = Number(process.env["FUZZ_SEED"] ?? (SECONDS === null ? 7 : Date.now() % 2 ** 31));
const BATCHES = 5;
/** More, until every field has been tried. */
const MOST_BATCHES = 30;

const config = parseConfig(
  JSON.stringify({
    paths: [],
    stateDir: "s",
    listen: { grpc: [], admin: "unix:a", otlp: null },
    accessLog: false,
  }),
  "fuzz",
);
const mesh = load(MESH, "mesh.yaml").objects;

function resourcesOf(world: World, pod: string, flavour: "weft" | "envoy-stock"): ResourceSet {
  const workload = world.workloads.find((w) => w.pod === pod)!;
  const made = resourcesFor(world, { ...workload, flavour }, config)!;
  const [first] = made.unwritten;
  if (first !== undefined) throw new Error(`${first.name}: ${first.reason}`);
  return made.resources;
}

function worldOf(documents: readonly Document[]): World {
  return toWorld([...mesh, ...documents.map((d) => d.loaded)], config);
}

/** What `apply` would refuse in the whole world goes. */
function valid(documents: readonly Document[]): Document[] {
  const errors = validate(worldOf(documents)).filter((issue) => issue.level === "error");
  const names = new Set(errors.map((issue) => issue.object.split("/").at(-1)));
  return documents.filter((d) => !names.has(d.loaded.name));
}

/** null: it is written, and our sidecar takes it. */
function ownFault(documents: readonly Document[]): string | null {
  try {
    const world = worldOf(documents);
    for (const { pod } of PODS) {
      resourcesOf(world, pod, "envoy-stock");
      const store = new ConfigStore();
      for (const [typeUrl, resources] of resourcesOf(world, pod, "weft")) {
        const all = [...resources.values()].map((r) => r.any);
        const { refused, warnings } = store.update({ typeUrl, resources: all });
        if (refused[0] !== undefined)
          return `the sidecar of ${pod} refuses ${refused[0].name}: ${refused[0].message}`;
        const unknown = warnings.find((w) =>
          /is not known here|belongs to the codec|written by the codec/.test(w),
        );
        if (unknown !== undefined) return `the sidecar of ${pod}: ${unknown}`;
      }
    }
    return null;
  } catch (error) {
    return `cannot be written: ${(error as Error).stack}`;
  }
}

describe.skipIf(missingEnvoys !== "")(
  `generated policies${missingEnvoys === "" ? "" : ` (skipped: ${missingEnvoys})`}`,
  () => {
    let envoys: Envoys;
    const restart = async (): Promise<void> => {
      envoys = await Envoys.start(PODS, (pod) => resourcesOf(worldOf([]), pod, "envoy-stock"));
    };
    beforeAll(restart, 60_000);
    afterAll(() => envoys.stop());

    async function pushed(documents: readonly Document[]): Promise<string | null> {
      const world = worldOf(documents);
      for (const { pod } of PODS) envoys.push(pod, resourcesOf(world, pod, "envoy-stock"));
      try {
        const refused = await envoys.settled();
        return refused.size === 0 ? null : [...refused].map(([pod, why]) => `${pod}: ${why}`).join("\n");
      } catch (error) {
        await envoys.stop();
        await restart();
        return `Envoy fails: ${(error as Error).message}`;
      }
    }
    async function envoyFault(documents: readonly Document[]): Promise<string | null> {
      const fault = await pushed(documents);
      if (fault !== null) await pushed([]);
      return fault;
    }

    test.for(KIND_KEYS)("%s", { timeout: 3_600_000 }, async (key, { annotate }) => {
      const end = SECONDS === null ? Number.POSITIVE_INFINITY : performance.now() + SECONDS * 1000;
      const faults: string[] = [];
      let read = 0;
      let accepted = 0;
      const seen = new Set<string>();
      for (let batch = 0; performance.now() < end; batch++) {
        const fields = fieldsOf(KINDS[key].spec, "spec").filter((field) => !seen.has(field));
        if (SECONDS === null && batch >= (fields.length === 0 ? BATCHES : MOST_BATCHES)) break;
        const generated = generate(key, SEED + batch);
        const documents = valid(generated.accepted);
        read += generated.read;
        accepted += documents.length;
        for (const spec of generated.specs) fieldsIn(KINDS[key].spec, spec, "spec", seen);
        faults.push(...generated.badWords.slice(0, 1));
        const writable = await without(documents, async (some) => ownFault(some), faults);
        await without(writable, envoyFault, faults);
        if (faults.length > 3) break;
      }
      await annotate(`seed ${SEED}: ${read} documents read, ${accepted} accepted`);
      expect(faults.join("\n\n").slice(0, 8000)).toBe("");
      // A field that no document has was not tried.
      expect(fieldsOf(KINDS[key].spec, "spec").filter((field) => !seen.has(field))).toEqual([]);
    });
  },
);

/** Finds the documents that are at fault by halves, says them, and returns the others. */
async function without(
  documents: readonly Document[],
  fault: (some: readonly Document[]) => Promise<string | null>,
  faults: string[],
): Promise<readonly Document[]> {
  if (documents.length === 0) return documents;
  const found = await fault(documents);
  if (found === null) return documents;
  if (documents.length === 1) {
    faults.push(`${documents[0]!.text.slice(0, 2000)}\n${found.slice(0, 1000)}`);
    return [];
  }
  const half = documents.length >> 1;
  const parts = [documents.slice(0, half), documents.slice(half)];
  const good: Document[] = [];
  const before = faults.length;
  for (const part of parts) good.push(...(await without(part, fault, faults)));
  // Each half is well by itself: it is the two together.
  if (faults.length === before) {
    faults.push(
      `only together: ${documents.map((d) => d.text.slice(0, 1000)).join("\n---\n")}\n${found.slice(0, 1000)}`,
    );
    return [];
  }
  return good;
}
