import { bool, labels, list, object, oneOf, port, required, str } from "../schema.ts";

export const gatewaySpec = object({
  selector: labels,
  servers: required(
    list(
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
          hosts: required(list(str)),
          tls: object(
            { httpsRedirect: bool },
            { later: ["mode", "credentialName", "serverCertificate", "privateKey", "caCertificates"] },
          ),
        },
        { later: ["bind", "defaultEndpoint"] },
      ),
    ),
  ),
});
