import type { SourceRef } from "#ir/source.ts";
import type { MtlsMode } from "#ir/workload.ts";
import { objectsOf, type PolicyWorld, selects, type Workload } from "../world.ts";

type Policies = Pick<PolicyWorld, "mesh" | "objects">;

/** `port` is the container's; null: for ports that no policy names. */
export function resolveMtls(world: Policies, workload: Workload, port: number | null): MtlsMode {
  return explainMtls(world, workload, port).mode;
}

/**
 * Port overrides of the workload's policy > workload > namespace > mesh; UNSET inherits; the oldest wins.
 * `source` is the statement that decided; null = no policy speaks, Istio's default holds.
 */
export function explainMtls(
  world: Policies,
  workload: Workload,
  port: number | null,
): { readonly mode: MtlsMode; readonly source: SourceRef | null } {
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
  const atPort = port === null ? undefined : own?.spec.portLevelMtls?.[String(port)]?.mode;
  const statements = [
    [own, atPort, ["spec", "portLevelMtls", String(port)]],
    [own, own?.spec.mtls?.mode, ["spec", "mtls"]],
    ...[workload.namespace, world.mesh.rootNamespace].map((namespace) => {
      const policy = plain(namespace);
      return [policy, policy?.spec.mtls?.mode, ["spec", "mtls"]] as const;
    }),
  ] as const;
  for (const [policy, mode, path] of statements)
    if (policy !== undefined && mode !== undefined && mode !== "UNSET")
      return { mode, source: { ...policy.source, line: policy.line(path) } };
  return { mode: "PERMISSIVE", source: null };
}
