import { duration, type Infer, int, list, object, oneOf, port, required, str } from "../schema.ts";

const nameValue = list(object({ name: required(str), value: required(str) }));
const headerFilter = object({ set: nameValue, add: nameValue, remove: list(str) });
const pathModifier = object({
  type: required(oneOf("ReplaceFullPath", "ReplacePrefixMatch")),
  replaceFullPath: str,
  replacePrefixMatch: str,
});
const filter = object(
  {
    type: required(oneOf("RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite")),
    requestHeaderModifier: headerFilter,
    responseHeaderModifier: headerFilter,
    requestRedirect: object({
      scheme: str,
      hostname: str,
      path: pathModifier,
      port,
      statusCode: int(300, 399),
    }),
    urlRewrite: object({ hostname: str, path: pathModifier }),
  },
  { later: ["requestMirror", "cors", "externalAuth", "extensionRef"] },
);
export type FilterSpec = Infer<typeof filter>;

const valueMatch = object({
  type: oneOf("Exact", "RegularExpression"),
  name: required(str),
  value: required(str),
});
const match = object({
  path: object({ type: oneOf("Exact", "PathPrefix", "RegularExpression"), value: str }),
  headers: list(valueMatch),
  queryParams: list(valueMatch),
  method: str,
});
export type HttpRouteMatchSpec = Infer<typeof match>;

const rule = object(
  {
    name: str,
    matches: list(match),
    filters: list(filter),
    backendRefs: list(
      object(
        { group: str, kind: str, name: required(str), namespace: str, port, weight: int(0, 1_000_000) },
        { later: ["filters"] },
      ),
    ),
    timeouts: object({ request: duration, backendRequest: duration }),
  },
  { later: ["retry", "sessionPersistence"] },
);
export const kubeHttpRouteSpec = object(
  {
    parentRefs: list(
      object({ group: str, kind: str, name: required(str), namespace: str, sectionName: str, port }),
    ),
    hostnames: list(str),
    rules: list(rule),
  },
  { later: ["useDefaultGateways"] },
);
export type KubeHttpRouteSpec = Infer<typeof kubeHttpRouteSpec>;
