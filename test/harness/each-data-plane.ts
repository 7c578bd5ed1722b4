/** Runs a suite twice with the same expectations: on our sidecars, and on a stock Envoy that our control plane drives. */
import { afterAll, beforeAll, describe } from "vitest";
import { findEnvoy } from "./envoy.ts";
import { type DataPlane, type Mesh, type MeshOptions, type Mode, startMesh } from "./mesh.ts";

const PLANES: readonly DataPlane[] = ["weft", "envoy"];
const START_TIMEOUT_MS = 90_000;

export function onEachDataPlane(
  name: string,
  options: Omit<MeshOptions, "dataPlane" | "mode"> & { readonly mode?: Mode },
  suite: (mesh: () => Mesh) => void,
): void {
  const envoy = findEnvoy();
  for (const dataPlane of PLANES) {
    const missing = dataPlane === "envoy" && "missing" in envoy ? envoy.missing : "";
    if (missing !== "" && process.env["CI"]) throw new Error(`in CI nothing may be missing: ${missing}`);
    const title = `${name} on ${dataPlane}${missing === "" ? "" : ` (skipped: ${missing})`}`;
    describe.skipIf(missing !== "")(title, () => {
      let mesh: Mesh | undefined;
      beforeAll(async () => {
        mesh = await startMesh({ mode: "explicit", ...options, dataPlane });
      }, START_TIMEOUT_MS);
      afterAll(() => mesh?.stop());
      suite(() => mesh!);
    });
  }
}
