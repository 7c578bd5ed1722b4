import { isIP } from "node:net";
import {
  check,
  int,
  isHost,
  isLabel,
  labels,
  list,
  NOT_A_HOST,
  object,
  port,
  required,
  type Schema,
  shaped,
  str,
  text,
  unlessEmpty,
} from "../schema.ts";

const intOrName: Schema<number | string> = shaped(
  (v, path, report) => (typeof v === "string" ? v : port(v, path, report)),
  { kind: "text", like: "port-or-name" },
);

/** What listeners and routes are named and matched by; "None" is a headless Service's. */
const clusterAddress = check(text("address"), (value) =>
  value === "" || value === "None" || (isIP(value) > 0 && !value.includes("%"))
    ? null
    : `must be an IP address or "None", not ${JSON.stringify(value)}`,
);

// Open: the rest of a Service (type, session affinity, ...) speaks to Kubernetes, not to the mesh.
export const serviceSpec = object(
  {
    clusterIP: clusterAddress,
    clusterIPs: list(clusterAddress),
    externalName: unlessEmpty(
      check(text("host"), (name) => (isHost(name.replace(/\.$/, "")) ? null : NOT_A_HOST)),
    ),
    type: str,
    selector: labels,
    ports: list(
      object({
        name: unlessEmpty(
          check(text("port-name"), (name) =>
            isLabel(name) ? null : 'must be a name of lower case letters, digits and "-"',
          ),
        ),
        port: required(port),
        targetPort: intOrName,
        protocol: str,
        appProtocol: str,
        nodePort: int(),
      }),
    ),
  },
  { open: true },
);
