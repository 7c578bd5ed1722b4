import type { WorkloadInfo } from "#control-plane/admin/contract.ts";
import { UserError } from "./errors.ts";

/**
 * The pod that a person means: a pod, a workload, `gateway`, an `app` label, or a prefix that fits one workload only. `NAME.NAMESPACE`
 * tells namespaces apart. Of a workload's pods the first ready one speaks.
 */
export function findPod(workloads: readonly WorkloadInfo[], wanted: string): WorkloadInfo {
  const is = (test: (w: WorkloadInfo) => boolean) => workloads.filter(test);
  const inNamespace = (name: (w: WorkloadInfo) => string) => (w: WorkloadInfo) =>
    wanted === name(w) || wanted === `${name(w)}.${w.namespace}`;
  const tries = [
    is(inNamespace((w) => w.pod)),
    is(inNamespace((w) => w.workload)),
    wanted === "gateway" ? is((w) => w.kind === "gateway") : [],
    is((w) => w.labels["app"] === wanted),
    is((w) => w.pod.startsWith(wanted) || `${w.workload}.${w.namespace}`.startsWith(wanted)),
  ];
  const found = tries.find((list) => list.length > 0) ?? [];
  const names = new Set(found.map((w) => `${w.workload}.${w.namespace}`));
  if (names.size === 1) return found.find((w) => w.ready) ?? found[0]!;
  if (names.size > 1) throw new UserError(`${wanted} can be ${[...names].join(", ")}: say more of the name`);
  const known = [...new Set(workloads.map((w) => w.workload))];
  throw new UserError(
    `no pod or workload "${wanted}"; there ${known.length === 0 ? "are none" : `are ${known.join(", ")}`}`,
  );
}
