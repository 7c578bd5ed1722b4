/** Runs a suite with the same expectations on our sidecars and on a stock Envoy that our control plane drives, and per mode. */
import { afterAll, beforeAll, describe } from "vitest";
import { findEnvoy } from "./envoy.ts";
import { type DataPlane, type Mesh, type MeshOptions, type Mode, startMesh } from "./mesh.ts";
import { noNamespaces } from "./namespaces.ts";

const PLANES: readonly DataPlane[] = ["weft", "envoy"];
const START_TIMEOUT_MS = 90_000;

export interface SuiteOptions extends Omit<MeshOptions, "dataPlane" | "mode"> {
  /** A suite that asks for both runs four times. Default: explicit only. */
  readonly modes?: readonly Mode[];
  /** All at the same time, its tests too: for what takes its time and little else. */
  readonly together?: boolean;
}

export function onEachDataPlane(
  name: string,
  options: SuiteOptions,
  suite: (mesh: () => Mesh, on: { readonly dataPlane: DataPlane; readonly mode: Mode }) => void,
): void {
  const { modes = ["explicit"], together = false, ...rest } = options;
  for (const mode of modes) {
    for (const dataPlane of PLANES) {
      const missing =
        (mode === "transparent" && noNamespaces()) || (dataPlane === "envoy" && noEnvoy()) || "";
      if (missing !== "" && process.env["CI"]) throw new Error(`in CI nothing may be missing: ${missing}`);
      const here = together ? describe.concurrent : describe;
      const block = missing === "" ? here : describe.skip;
      const title = `${name} on ${dataPlane}, ${mode}${missing === "" ? "" : ` (skipped: ${missing})`}`;
      block(title, () => {
        let mesh: Mesh | undefined;
        beforeAll(async () => {
          mesh = await startMesh({ ...rest, mode, dataPlane });
        }, START_TIMEOUT_MS);
        afterAll(() => mesh?.stop());
        suite(() => mesh!, { dataPlane, mode });
      });
    }
  }
}

function noEnvoy(): string {
  const envoy = findEnvoy();
  return "missing" in envoy ? envoy.missing : "";
}
