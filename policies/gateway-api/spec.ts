import { list, object, oneOf, port, required, str } from "../schema.ts";

/** gateway.networking.k8s.io Gateway. Its proxies carry the label gateway.networking.k8s.io/gateway-name. */
export const kubeGatewaySpec = object(
  {
    gatewayClassName: required(str),
    listeners: required(
      list(
        object(
          {
            name: required(str),
            hostname: str,
            port: required(port),
            protocol: required(oneOf("HTTP")),
            allowedRoutes: object({
              namespaces: object({ from: oneOf("Same", "All") }, { later: ["selector"] }),
              kinds: list(object({ group: str, kind: required(str) })),
            }),
          },
          { later: ["tls"] },
        ),
      ),
    ),
  },
  { later: ["addresses", "infrastructure", "allowedListeners", "tls", "backendTLS"] },
);

export const gatewayClassSpec = object(
  { controllerName: required(str), description: str },
  { later: ["parametersRef"] },
);
