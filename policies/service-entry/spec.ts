import { type Infer, int, labels, list, map, object, oneOf, port, required, str } from "../schema.ts";

export const serviceEntrySpec = object(
  {
    hosts: required(list(str)),
    addresses: list(str),
    ports: required(list(object({ number: required(port), name: str, protocol: str, targetPort: port }))),
    location: oneOf("MESH_EXTERNAL", "MESH_INTERNAL"),
    resolution: oneOf("NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN"),
    endpoints: list(
      object(
        { address: required(str), ports: map(port), labels, weight: int(), serviceAccount: str },
        { later: ["network", "locality"] },
      ),
    ),
    subjectAltNames: list(str),
  },
  { later: ["workloadSelector", "exportTo"] },
);
export type ServiceEntrySpec = Infer<typeof serviceEntrySpec>;
