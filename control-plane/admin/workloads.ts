import type { SourceRef } from "#ir/index.ts";
import { explainMtls, resolve, type Workload, type World } from "#policies/index.ts";
import type { SourceInfo, WorkloadInfo, WorkloadsAnswer } from "./contract.ts";

/** Every pod with an address, and which security policies hold for it, with file and line. */
export function workloads(world: World): WorkloadsAnswer {
  return {
    workloads: world.workloads.map((w) => {
      const ir = resolve(world, w);
      const { audit, deny, allow } = ir.authorization;
      return {
        pod: w.pod,
        workload: w.name,
        namespace: w.namespace,
        ip: w.ip,
        kind: ir.kind,
        spiffeId: ir.identity.spiffeId,
        labels: w.labels,
        ready: w.ready,
        servicePrefix: w.interception.kind === "explicit" ? w.interception.servicePrefix : null,
        inbound: ir.inbound.map(({ port, servicePort, protocol, mtls }) => {
          const { source } = explainMtls(world.policy, w, port);
          return { port, servicePort, protocol, mtls, mtlsSource: source === null ? null : at(source) };
        }),
        defaultMtls: defaultMtls(world, w),
        authorization: (
          [
            ["AUDIT", audit],
            ["DENY", deny],
            ["ALLOW", allow],
          ] as const
        ).flatMap(([action, policies]) =>
          policies.map((p) => ({
            action,
            dryRun: p.dryRun,
            source: at(p.source),
            rules: p.rules.map((r) => ({ index: r.index, source: at(r.source) })),
          })),
        ),
      };
    }),
    services: world.services.map((s) => ({
      host: s.host,
      name: s.name,
      namespace: s.namespace,
      addresses: s.addresses,
      ports: s.ports.map(({ name, number, protocol }) => ({ name, number, protocol })),
      aliases: s.aliases.map(({ name, namespace }) => ({ name, namespace })),
      instances: [
        ...new Map(
          Object.values(s.instances)
            .flat()
            .map(({ name, endpoint: { address } }) => [name, { name, address }]),
        ).values(),
      ],
      source: at(s.source),
    })),
  };
}

function defaultMtls(world: World, workload: Workload): WorkloadInfo["defaultMtls"] {
  const { mode, source } = explainMtls(world.policy, workload, null);
  return { mode, source: source === null ? null : at(source) };
}

function at({ kind, namespace, name, file, line }: SourceRef): SourceInfo {
  return { kind, namespace, name, file, line };
}
