import { check, map, object, oneOf, text } from "../schema.ts";
import { selector } from "../selector.ts";

// STRICT without its word would be what the mesh has.
const mtls = object({ mode: oneOf("UNSET", "DISABLE", "PERMISSIVE", "STRICT") }, { valued: ["mode"] });
/** By the port on which the workload listens. */
const byPort = check(
  map(
    mtls,
    check(text("port"), (key) =>
      /^[1-9]\d{0,4}$/.test(key) && Number(key) <= 65535
        ? null
        : `must be a port number of the workload, not "${key}"`,
    ),
  ),
  (ports) => (Object.keys(ports).length === 0 ? "must not be empty: name a port, or take it out" : null),
);
export const peerAuthenticationSpec = check(
  object({ selector, mtls, portLevelMtls: byPort }, { valued: ["mtls", "portLevelMtls"] }),
  (p) =>
    p.portLevelMtls !== undefined && Object.keys(p.selector?.matchLabels ?? {}).length === 0
      ? "portLevelMtls needs a selector with matchLabels: it is about the ports of chosen workloads"
      : null,
);
