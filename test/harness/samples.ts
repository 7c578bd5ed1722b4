/** Policies that tests apply as they are: our own in test/mesh/samples, and Istio's under the same names. */
import { existsSync } from "node:fs";
import { join } from "node:path";

const OWN = join(import.meta.dirname, "../mesh/samples");
const ISTIO = join(import.meta.dirname, "../../../shared/samples/istio");

/** `istio`: Istio's own file is wanted; ours where no copy of Istio's samples is at hand. */
export function sample(path: string, istio: boolean): string {
  return join(istio && existsSync(ISTIO) ? ISTIO : OWN, `${path}.yaml`);
}
