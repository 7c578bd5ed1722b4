import { check, type Infer, labels, map, object, oneOf, type Schema } from "../schema.ts";

const mtls = object({ mode: oneOf("UNSET", "DISABLE", "PERMISSIVE", "STRICT") });
type Mtls = Infer<typeof mtls>;
/** By the port on which the workload listens. */
const byPort: Schema<Readonly<Record<string, Mtls>>> = (value, path, report) => {
  const ports = map(mtls)(value, path, report);
  for (const key in ports)
    if (!/^[1-9]\d{0,4}$/.test(key) || Number(key) > 65535)
      report([...path, key], "invalid-value", `must be a port number of the workload, not "${key}"`);
  return ports;
};
export const peerAuthenticationSpec = check(
  object({ selector: object({ matchLabels: labels }), mtls, portLevelMtls: byPort }),
  (p) =>
    p.portLevelMtls !== undefined && Object.keys(p.selector?.matchLabels ?? {}).length === 0
      ? "portLevelMtls needs a selector with matchLabels: it is about the ports of chosen workloads"
      : null,
);
