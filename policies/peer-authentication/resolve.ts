import type { MtlsMode } from "#ir/workload.ts";
import { objectsOf, selects, type Workload, type World } from "../world.ts";

/** Port overrides of the workload's policy > workload > namespace > mesh; UNSET inherits; the oldest wins. */
export function resolveMtls(world: World, workload: Workload, port: number | null): MtlsMode {
  const all = objectsOf(world, "security.istio.io/PeerAuthentication");
  const plain = (namespace: string) =>
    all.find(
      (p) => p.namespace === namespace && Object.keys(p.spec.selector?.matchLabels ?? {}).length === 0,
    );
  const own = all.find((p) => {
    const labels = p.spec.selector?.matchLabels ?? {};
    return (
      p.namespace === workload.namespace && Object.keys(labels).length > 0 && selects(labels, workload.labels)
    );
  });
  const modes = [
    port === null ? undefined : own?.spec.portLevelMtls?.[String(port)]?.mode,
    own?.spec.mtls?.mode,
    plain(workload.namespace)?.spec.mtls?.mode,
    plain(world.mesh.rootNamespace)?.spec.mtls?.mode,
  ];
  for (const mode of modes) if (mode !== undefined && mode !== "UNSET") return mode;
  return "PERMISSIVE";
}
