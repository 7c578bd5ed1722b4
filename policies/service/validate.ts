import { objectsOf, protocolOf, selects } from "../world.ts";
import type { WorldCheck } from "../world-check.ts";
import { externalNames, followed } from "./alias.ts";

export const validateServices: WorldCheck = (world, say) => {
  const services = objectsOf(world, "/Service");
  const domain = `svc.${world.mesh.clusterDomain}`;
  const hosts = [
    ...services.map((s) => ({ host: `${s.name}.${s.namespace}.${domain}` })),
    ...world.services.filter((s) => s.kind === "entry"),
  ];
  const { circles } = followed(hosts, externalNames(services), world.mesh);
  for (const s of services)
    if (circles.has(`${s.name}.${s.namespace}.${domain}`))
      say(
        "warning",
        "alias-circle",
        s,
        ["spec", "externalName"],
        `the aliases lead in a circle: ${s.name} leads nowhere`,
      );
  for (const s of services) {
    const selector = s.spec.selector ?? {};
    if (Object.keys(selector).length === 0) continue;
    const pods = world.workloads.filter((w) => w.namespace === s.namespace && selects(selector, w.labels));
    const names = new Set(pods.flatMap((w) => w.ports.flatMap((p) => p.name || [])));
    for (const [i, { targetPort }] of (s.spec.ports ?? []).entries())
      if (typeof targetPort === "string" && pods.length > 0 && !names.has(targetPort))
        say(
          "warning",
          "unknown-port",
          s,
          ["spec", "ports", i, "targetPort"],
          `no pod that it selects has a port of the name "${targetPort}" (${names.size === 0 ? "none of theirs has a name" : `there are ${[...names].join(", ")}`}): requests get 503`,
        );
  }
  for (const s of services)
    for (const [i, { name, appProtocol, port }] of (s.spec.ports ?? []).entries())
      if (port !== undefined && isHttp2(protocolOf(name, appProtocol, port)))
        say(
          "warning",
          "not-carried-out",
          s,
          ["spec", "ports", i, appProtocol === undefined ? "name" : "appProtocol"],
          "HTTP/2 and gRPC are not there yet: HTTP/1.1 alone is served, HTTP/2 gets 400; name the port tcp-... to pass it through",
        );
};

const isHttp2 = (protocol: string): boolean => protocol === "http2" || protocol === "grpc";
