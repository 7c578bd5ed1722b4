import {
  check,
  int,
  isHost,
  labels,
  list,
  map,
  NOT_A_HOST,
  object,
  oneOf,
  port,
  required,
  str,
} from "../schema.ts";

export const serviceEntrySpec = check(
  object({
    hosts: required(list(check(str, (text) => (isHost(text) ? null : NOT_A_HOST)))),
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
    workloadSelector: object({ labels }),
    exportTo: list(str),
  }),
  (e) => {
    if (e.workloadSelector !== undefined && e.endpoints !== undefined)
      return "has both workloadSelector and endpoints: say one";
    if (e.workloadSelector !== undefined && e.resolution !== "STATIC")
      return "workloadSelector needs resolution STATIC: pods have addresses, not names";
    if (e.resolution === "STATIC" && e.workloadSelector === undefined && !e.endpoints?.length)
      return "resolution STATIC needs endpoints or a workloadSelector";
    return null;
  },
);
