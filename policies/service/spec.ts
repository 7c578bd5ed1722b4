import { int, labels, list, object, port, type Schema, shaped, str } from "../schema.ts";

const intOrName: Schema<number | string> = shaped(
  (v, path, report) => (typeof v === "string" ? v : port(v, path, report)),
  { kind: "text", like: "port-or-name" },
);

// Open: the rest of a Service (type, session affinity, ...) speaks to Kubernetes, not to the mesh.
export const serviceSpec = object(
  {
    clusterIP: str,
    clusterIPs: list(str),
    externalName: str,
    type: str,
    selector: labels,
    ports: list(
      object({
        name: str,
        port: port,
        targetPort: intOrName,
        protocol: str,
        appProtocol: str,
        nodePort: int(),
      }),
    ),
  },
  { open: true },
);
