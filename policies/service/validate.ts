import { objectsOf } from "../world.ts";
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
};
