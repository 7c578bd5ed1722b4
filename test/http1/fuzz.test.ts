/**
 * Mutated messages over sockets: every answer that is not ours has one request behind it at the backend, what arrives
 * there is strictly valid, statuses are those of the codec alone, and nothing hangs. WEFT_FUZZ_SEED chooses others.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { mutated, place, REQUESTS } from "#sidecar/http1/cases/mutate.ts";
import { runCodec } from "#sidecar/http1/cases/run.ts";
import { Backend } from "./backend.ts";
import { talk } from "./client.ts";
import { type Plane, startPlane } from "./plane.ts";

const RUNS = Number(process.env["WEFT_FUZZ_RUNS"] ?? 400);
const SEED = Number(process.env["WEFT_FUZZ_SEED"] ?? 20_261_125);

let backend: Backend;
let plane: Plane;
beforeAll(async () => {
  backend = await new Backend().listen();
  plane = await startPlane({ backendPort: backend.port });
});
afterAll(async () => {
  await plane.stop();
  backend.close();
});

test("requests answered = requests at the backend", { timeout: 120_000 }, async () => {
  let forwarded = 0;
  await fc.assert(
    fc.asyncProperty(mutated(REQUESTS), place, async (bytes, where) => {
      // An upgrade is tunnelled or refused by the route, and CONNECT too: other rows.
      fc.pre(!/upgrade|CONNECT/i.test(bytes.toString("latin1")) && bytes.length > 1);
      backend.reset();
      const cut = Math.max(1, Math.floor(where * bytes.length));
      const methods = [...bytes.toString("latin1").matchAll(/\b([A-Z]{1,20}) \S+ HTTP\/1/g)].map(
        (m) => m[1]!,
      );
      const alone = runCodec(bytes, [bytes.length]);
      const { answers, end } = await talk(plane.port, [bytes.subarray(0, cut), bytes.subarray(cut)], {
        methods,
        finAfter: alone.out.length,
      });
      expect(end).not.toBe("hang");
      expect(backend.faults).toEqual([]);
      const final = answers.map(({ status }) => status).filter((status) => status >= 200);
      expect(backend.requests).toHaveLength(final.filter((status) => status === 200).length);
      forwarded += backend.requests.length;

      const seen = backend.requests.map(({ method, target, body }) => `${method} ${target} ${body}`);
      const meant = alone.out.map((out) => {
        const [method, target] = out.split(" ", 2);
        return `${method} ${target} ${out.slice(out.indexOf("\r\n\r\n") + 4)}`;
      });
      // A host of HTTP/1.0 may be missing, and paths are normalised: then the handler's answer stands in between.
      const local = final.indexOf(400);
      expect(seen).toEqual(local === -1 ? meant : meant.slice(0, local));
    }),
    { numRuns: RUNS, seed: SEED },
  );
  expect(forwarded).toBeGreaterThan(RUNS / 5);
});
