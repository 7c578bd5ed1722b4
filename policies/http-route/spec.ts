import {
  check,
  duration,
  type Infer,
  int,
  list,
  object,
  oneOf,
  port,
  redirectStatus,
  regex,
  required,
  type Schema,
  str,
} from "../schema.ts";

const nameValue = list(object({ name: required(str), value: required(str) }));
const headerFilter = object({ set: nameValue, add: nameValue, remove: list(str) });
const pathModifier = object({
  type: required(oneOf("ReplaceFullPath", "ReplacePrefixMatch")),
  replaceFullPath: str,
  replacePrefixMatch: str,
});
const OBJECT = {
  RequestHeaderModifier: "requestHeaderModifier",
  ResponseHeaderModifier: "responseHeaderModifier",
  RequestRedirect: "requestRedirect",
  URLRewrite: "urlRewrite",
} as const;
const filterFields = object(
  {
    type: required(oneOf("RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite")),
    requestHeaderModifier: headerFilter,
    responseHeaderModifier: headerFilter,
    requestRedirect: object({
      scheme: str,
      hostname: str,
      path: pathModifier,
      port,
      statusCode: redirectStatus,
    }),
    urlRewrite: object({ hostname: str, path: pathModifier }),
  },
  { later: ["requestMirror", "cors", "externalAuth", "extensionRef"] },
);
const filter = check(filterFields, (f) =>
  f.type === undefined || f[OBJECT[f.type]] !== undefined
    ? null
    : `type ${f.type} needs the field ${OBJECT[f.type]}`,
);
export type FilterSpec = Infer<typeof filter>;
/** Of one backend: what its share of the requests gets. */
const backendFilter = check(filter, (f) =>
  f.type === "RequestHeaderModifier" || f.type === "ResponseHeaderModifier"
    ? null
    : `type ${f.type} is not supported on a backend (header modifiers are)`,
);

/** Reports a pattern that is no RE2 under the field `value`. */
const checkedRegex =
  <T extends { type?: string | undefined; value?: string | undefined }>(schema: Schema<T>): Schema<T> =>
  (value, path, report) => {
    const match = schema(value, path, report);
    if (match?.type === "RegularExpression" && match.value !== undefined)
      regex(match.value, [...path, "value"], report);
    return match;
  };
const valueMatch = checkedRegex(
  object({ type: oneOf("Exact", "RegularExpression"), name: required(str), value: required(str) }),
);
const match = object({
  path: checkedRegex(object({ type: oneOf("Exact", "PathPrefix", "RegularExpression"), value: str })),
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
      object({
        group: str,
        kind: str,
        name: required(str),
        namespace: str,
        port,
        weight: int(0, 1_000_000),
        filters: list(backendFilter),
      }),
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
