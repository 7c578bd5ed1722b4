import { servicePortFault, validateSelecting, workloadsOf } from "../selecting.ts";
import { objectsOf } from "../world.ts";
import { place, type WorldCheck } from "../world-check.ts";

export const validatePeerAuthentications: WorldCheck = (world, say) => {
  const all = objectsOf(world, "security.istio.io/PeerAuthentication");
  for (const [i, p] of all.entries()) {
    validateSelecting(world, say, p);
    const labels = Object.keys(p.spec.selector?.matchLabels ?? {});
    const workloads = workloadsOf(world, p);
    // Oldest first: an earlier one of the same reach counts, and this one says nothing there.
    const first = all.slice(0, i).find((q) => {
      if (q.namespace !== p.namespace) return false;
      const chosen = Object.keys(q.spec.selector?.matchLabels ?? {}).length > 0;
      if (chosen !== labels.length > 0) return false;
      return !chosen || workloadsOf(world, q).some((w) => workloads.includes(w));
    });
    if (first !== undefined) {
      const where =
        labels.length > 0
          ? "for workloads that both select"
          : p.namespace === world.mesh.rootNamespace
            ? "for the mesh"
            : `for namespace ${p.namespace}`;
      say(
        "warning",
        "conflicting-policy",
        p,
        ["spec"],
        `${place(first)} is older and counts ${where}; this one is ignored there`,
      );
    }
    for (const port of Object.keys(p.spec.portLevelMtls ?? {})) {
      const fault = servicePortFault(world, workloads, Number(port));
      if (fault !== null)
        say(
          "warning",
          "never-matches",
          p,
          ["spec", "portLevelMtls", port],
          `"${port}" ${fault}: portLevelMtls is about the port of the workload`,
        );
    }
  }
};
