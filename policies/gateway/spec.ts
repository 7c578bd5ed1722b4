import {
  bool,
  check,
  isHost,
  isLabel,
  labels,
  NOT_A_HOST,
  nonEmptyList,
  object,
  oneOf,
  port,
  refine,
  repeated,
  required,
  str,
  text,
} from "../schema.ts";

/** A host, or the namespace whose VirtualServices may serve it ("." this one, "*" any), "/" and the host. */
const host = check(text("gateway-host"), (name) => {
  const [owner, rest] = name.includes("/")
    ? [name.slice(0, name.indexOf("/")), name.slice(name.indexOf("/") + 1)]
    : ["*", name];
  if (owner !== "*" && owner !== "." && !isLabel(owner))
    return `must be host or namespace/host, not "${name}"`;
  return isHost(rest) ? null : NOT_A_HOST;
});

export const gatewaySpec = refine(
  object({
    selector: labels,
    servers: required(
      nonEmptyList(
        object(
          {
            name: str,
            port: required(
              object(
                {
                  number: required(port),
                  name: str,
                  protocol: required(oneOf("HTTP", "HTTP2", "GRPC", "GRPC-WEB")),
                },
                { later: ["targetPort"] },
              ),
            ),
            hosts: required(nonEmptyList(host)),
            tls: object(
              { httpsRedirect: bool },
              { later: ["mode", "credentialName", "serverCertificate", "privateKey", "caCertificates"] },
            ),
          },
          { later: ["bind", "defaultEndpoint"] },
        ),
      ),
    ),
  }),
  (g, path, report) => {
    const twice = repeated(g.servers.flatMap((s) => s.port.name ?? []));
    if (twice !== undefined)
      report([...path, "servers"], "invalid-value", `two ports have the name ${twice}: names are unique`);
  },
);
