import { isDryRun } from "./annotations.ts";
import type { Loaded } from "./load.ts";
import { selects, targetPortOf, type Workload, type World } from "./world.ts";
import type { Say } from "./world-check.ts";

export type Selecting = Loaded<
  "security.istio.io/AuthorizationPolicy" | "security.istio.io/PeerAuthentication"
>;

/** Those that a policy is about. What the root namespace says of all holds everywhere. */
export function workloadsOf(world: World, p: Selecting): Workload[] {
  const labels = p.spec.selector?.matchLabels ?? {};
  // Istio: a PeerAuthentication that chooses workloads speaks of its own namespace alone.
  const own = p.source.kind === "PeerAuthentication" && Object.keys(labels).length > 0;
  const everywhere = p.namespace === world.mesh.rootNamespace && !own;
  return world.workloads.filter(
    (w) => (everywhere || w.namespace === p.namespace) && selects(labels, w.labels),
  );
}

/** Policies of workloads name the port on which these listen; null where `port` can be one. */
export function servicePortFault(world: World, workloads: readonly Workload[], port: number): string | null {
  let fault: string | null = null;
  for (const w of workloads) {
    if (w.ports.some((p) => p.port === port)) return null;
    for (const s of world.services) {
      if (s.selector === null || s.namespace !== w.namespace || !selects(s.selector, w.labels)) continue;
      for (const p of s.ports) {
        const target = targetPortOf(p, w);
        if (target === port) return null;
        if (p.number === port)
          fault = `is the port of Service ${s.name}, which leads to port ${target ?? p.targetPort}`;
      }
    }
  }
  return fault;
}

/** Of a policy that selects workloads by label: is it carried out, and on whom. */
export function validateSelecting(world: World, say: Say, p: Selecting): void {
  if (isDryRun(p.annotations))
    say(
      "warning",
      "not-carried-out",
      p,
      ["metadata", "annotations", "istio.io/dry-run"],
      "Weft's sidecars have no dry run yet: the policy does nothing there; a stock Envoy counts what it would do",
    );
  const { selector } = p.spec;
  // Null, too, which reads as none: its labels may have been taken out.
  const isNull = (p.raw["spec"] as { selector?: unknown } | undefined | null)?.selector === null;
  if (selector === undefined && !isNull) return;
  if (Object.keys(selector?.matchLabels ?? {}).length === 0)
    say(
      "warning",
      "selects-everything",
      p,
      ["spec", "selector"],
      "a selector without labels takes every workload: take it out, or name labels",
    );
  else if (workloadsOf(world, p).length === 0)
    say("warning", "selects-nothing", p, ["spec", "selector"], "the selector takes no workload");
}
