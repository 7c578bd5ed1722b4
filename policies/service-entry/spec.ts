import { isIP } from "node:net";
import { exportTo } from "../export-to.ts";
import { comparedValue } from "../http-values.ts";
import {
  check,
  int,
  isHost,
  isLabel,
  labels,
  list,
  map,
  NOT_A_HOST,
  nonEmptyList,
  object,
  oneOf,
  port,
  refine,
  repeated,
  required,
  text,
  unlessZero,
} from "../schema.ts";

const host = check(text("host"), (name) =>
  name === "*" ? '"*" is every host: name one, or "*.suffix"' : isHost(name) ? null : NOT_A_HOST,
);
const isAddress = (value: string): boolean => isIP(value) > 0 && !value.includes("%");
/** An address, or a range of them. */
const address = check(text("range"), (value) => {
  const [ip = "", length, ...rest] = value.split("/");
  const most = isIP(ip) === 6 ? 128 : 32;
  const whole = length === undefined || (/^(0|[1-9]\d{0,2})$/.test(length) && Number(length) <= most);
  return isAddress(ip) && whole && rest.length === 0
    ? null
    : "must be an IP address or range, such as 10.1.2.3 or 10.0.0.0/8";
});
const PROTOCOLS = [
  "HTTP",
  "HTTPS",
  "GRPC",
  "GRPC-WEB",
  "HTTP2",
  "MONGO",
  "TCP",
  "TLS",
  "REDIS",
  "MYSQL",
  "UDP",
];
const protocol = check(text("protocol"), (name) =>
  name === "" || PROTOCOLS.includes(name.toUpperCase()) ? null : `must be one of ${PROTOCOLS.join(", ")}`,
);
const portName = check(text("port-name"), (name) =>
  isLabel(name) ? null : 'must be a name of lower case letters, digits and "-", at most 63 characters',
);
const account = check(comparedValue, (name) => (name.includes("/") ? 'must be a name without "/"' : null));

export const serviceEntrySpec = refine(
  object({
    hosts: required(nonEmptyList(host)),
    addresses: list(address),
    ports: required(
      nonEmptyList(
        object({ number: required(port), name: portName, protocol, targetPort: unlessZero(int(0, 65_535)) }),
      ),
    ),
    location: oneOf("MESH_EXTERNAL", "MESH_INTERNAL"),
    resolution: oneOf("NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN"),
    endpoints: list(
      object(
        {
          address: required(text("address")),
          ports: map(port, portName),
          labels,
          weight: unlessZero(int()),
          serviceAccount: account,
        },
        { later: ["network", "locality"] },
      ),
    ),
    subjectAltNames: list(check(comparedValue, (name) => (name === "" ? "must not be empty" : null))),
    workloadSelector: object({ labels }),
    exportTo: exportTo({ none: true }),
  }),
  (e, path, report) => {
    const fault = (field: string, message: string) => report([...path, field], "invalid-value", message);
    const { resolution = "NONE", endpoints = [] } = e;
    const dns = resolution === "DNS" || resolution === "DNS_ROUND_ROBIN";
    if (e.workloadSelector !== undefined && e.endpoints !== undefined)
      fault("workloadSelector", "has both workloadSelector and endpoints: say one");
    else if (e.workloadSelector !== undefined && resolution !== "STATIC")
      fault("workloadSelector", "workloadSelector needs resolution STATIC: pods have addresses, not names");
    else if (resolution === "STATIC" && e.workloadSelector === undefined && endpoints.length === 0)
      fault("resolution", "resolution STATIC needs endpoints or a workloadSelector");
    if (resolution === "NONE" && endpoints.length > 0)
      fault("endpoints", "resolution NONE goes where the client says: it has no endpoints");
    if (resolution === "DNS_ROUND_ROBIN" && endpoints.length > 1)
      fault("endpoints", "resolution DNS_ROUND_ROBIN has one endpoint at most");
    if (dns && endpoints.length === 0)
      for (const [i, name] of e.hosts.entries())
        if (name.includes("*"))
          report(
            [...path, "hosts", i],
            "invalid-value",
            `"${name}" cannot be looked up: name the host, or endpoints`,
          );
    if (dns && e.addresses?.some((a) => a.includes("/")))
      fault("addresses", `ranges need resolution NONE or STATIC, not ${resolution}`);
    for (const [name, all] of [
      ["number", e.ports.map((p) => p.number)],
      ["name", e.ports.flatMap((p) => p.name ?? [])],
    ] as const) {
      const twice = repeated<number | string>(all);
      if (twice !== undefined) fault("ports", `two ports have the ${name} ${twice}`);
    }
    const names = new Set(e.ports.map((p) => p.name));
    for (const [i, { address: to, ports = {} }] of endpoints.entries()) {
      const at = [...path, "endpoints", i];
      if (!isAddress(to) && !(dns && isHost(to) && !to.includes("*")))
        report(
          [...at, "address"],
          "invalid-value",
          dns ? "must be an IP address or a host" : "must be an IP address",
        );
      for (const name of Object.keys(ports))
        if (!names.has(name))
          report(
            [...at, "ports", name],
            "invalid-value",
            `no port of this ServiceEntry has the name ${name}`,
          );
    }
  },
);
