import type { InboundPortIr, WorkloadIr } from "#ir/workload.ts";
import { Memo } from "#lib/memo.ts";
import { resolveAuthorization } from "./authorization-policy/resolve.ts";
import { clientOf } from "./client.ts";
import { resolveGateways } from "./gateways.ts";
import { resolveOutbound } from "./outbound.ts";
import { resolveMtls } from "./peer-authentication/resolve.ts";
import {
  type PolicyWorld,
  protocolOf,
  type Service,
  selects,
  spiffeId,
  targetPortOf,
  type Workload,
} from "./world.ts";

const results = new Memo<WorkloadIr>();

/** What all policies mean for one workload. Pure: same policy world and workload, same (even identical) result. */
export function resolve(world: { readonly policy: PolicyWorld }, workload: Workload): WorkloadIr {
  // Readiness concerns the workload's callers, not its own configuration.
  const { ready: _, source: __, ...facts } = workload;
  return results.get(world.policy, JSON.stringify(facts), () => workloadIr(world.policy, workload));
}

function workloadIr(world: PolicyWorld, workload: Workload): WorkloadIr {
  const gatewayListeners = resolveGateways(world, workload);
  return {
    kind: gatewayListeners.length > 0 ? "gateway" : "sidecar",
    name: workload.pod,
    namespace: workload.namespace,
    ip: workload.ip,
    labels: workload.labels,
    identity: {
      trustDomain: world.mesh.trustDomain,
      namespace: workload.namespace,
      serviceAccount: workload.serviceAccount,
      spiffeId: spiffeId(world.mesh, workload.namespace, workload.serviceAccount),
    },
    interception: workload.interception,
    inbound: resolveInbound(world, workload),
    defaultMtls: resolveMtls(world, workload, null),
    authorization: resolveAuthorization(world, workload),
    ...resolveOutbound(world, clientOf(world, workload)),
    gatewayListeners,
    outboundMode: world.mesh.outboundMode,
  };
}

const selecting = new Memo<readonly Service[]>();

function resolveInbound(world: PolicyWorld, workload: Workload): InboundPortIr[] {
  const ports = new Map<number, InboundPortIr>();
  const mine = selecting.get(world.services, workload.namespace, () =>
    world.services.filter(
      (s) => s.namespace === workload.namespace && Object.keys(s.selector ?? {}).length > 0,
    ),
  );
  for (const s of mine) {
    if (!selects(s.selector!, workload.labels)) continue;
    for (const p of s.ports) {
      const target = targetPortOf(p, workload);
      if (target === null || ports.has(target)) continue;
      ports.set(target, {
        port: target,
        servicePort: p.number,
        host: s.host,
        service: { name: s.name, namespace: s.namespace },
        protocol: p.protocol,
        mtls: resolveMtls(world, workload, target),
      });
    }
  }
  for (const { name, port } of workload.ports) {
    if (ports.has(port)) continue;
    const protocol = protocolOf(name, undefined, port);
    const mtls = resolveMtls(world, workload, port);
    ports.set(port, { port, servicePort: null, host: null, service: null, protocol, mtls });
  }
  return [...ports.values()].sort((a, b) => a.port - b.port);
}
