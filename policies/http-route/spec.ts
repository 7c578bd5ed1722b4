import {
  comparedValue,
  headerName,
  pathMatch as pathMatchValue,
  requestModifier,
  responseModifier,
  target,
  targetFault,
} from "../http-values.ts";
import {
  check,
  duration,
  type Infer,
  int,
  isHost,
  list,
  NOT_A_HOST,
  object,
  oneOf,
  port,
  redirectStatus,
  refine,
  regex,
  required,
  type Schema,
  str,
  text,
} from "../schema.ts";

const host = check(text("host"), (name) => (isHost(name) ? null : NOT_A_HOST));
const preciseHost = check(host, (name) =>
  name.includes("*") ? "must name one host, without a wildcard" : null,
);
const MODIFIER = { ReplaceFullPath: "replaceFullPath", ReplacePrefixMatch: "replacePrefixMatch" } as const;
const pathModifier = check(
  object({
    type: required(oneOf("ReplaceFullPath", "ReplacePrefixMatch")),
    replaceFullPath: target,
    replacePrefixMatch: check(text("path"), (value) => (value === "" ? null : targetFault(value))),
  }),
  (m) => {
    for (const [type, field] of Object.entries(MODIFIER))
      if ((m.type === type) !== (m[field] !== undefined) && m.type !== undefined)
        return m.type === type ? `type ${type} needs the field ${field}` : `${field} needs the type ${type}`;
    return null;
  },
);
const OBJECT = {
  RequestHeaderModifier: "requestHeaderModifier",
  ResponseHeaderModifier: "responseHeaderModifier",
  RequestRedirect: "requestRedirect",
  URLRewrite: "urlRewrite",
} as const;
const filterFields = object(
  {
    type: required(oneOf("RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite")),
    requestHeaderModifier: requestModifier,
    responseHeaderModifier: responseModifier,
    requestRedirect: object({
      scheme: oneOf("http", "https"),
      hostname: preciseHost,
      path: pathModifier,
      port,
      statusCode: redirectStatus,
    }),
    urlRewrite: object({ hostname: preciseHost, path: pathModifier }),
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
const checkedRegex = <T extends { type?: string | undefined; value?: string | undefined }>(
  schema: Schema<T>,
): Schema<T> =>
  refine(schema, (match, path, report) => {
    if (match.type === "RegularExpression" && match.value !== undefined)
      regex(match.value, [...path, "value"], report);
  });
const valueMatch = checkedRegex(
  object({
    type: oneOf("Exact", "RegularExpression"),
    name: required(headerName),
    value: required(comparedValue),
  }),
);
/** HTTPPathMatch: paths are compared as they come after normalisation, where none of these is left. */
const pathMatch = check(
  checkedRegex(object({ type: oneOf("Exact", "PathPrefix", "RegularExpression"), value: pathMatchValue })),
  ({ type, value }) => {
    if (type === "RegularExpression" || value === undefined) return null;
    if (!value.startsWith("/")) return `value must begin with "/", not ${JSON.stringify(value)}`;
    const odd = /\/\/|\/\.\.?(?=\/|$)|%2[fF]|#/.exec(value)?.[0];
    return odd === undefined ? null : `value holds ${JSON.stringify(odd)}, which no path that is matched has`;
  },
);
const METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"] as const;
const match = object({
  path: pathMatch,
  headers: list(valueMatch),
  queryParams: list(valueMatch),
  method: oneOf(...METHODS),
});
export type HttpRouteMatchSpec = Infer<typeof match>;

const ruleFields = object(
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
    timeouts: check(
      object({ request: duration, backendRequest: duration }),
      ({ request = 0, backendRequest = 0 }) =>
        request > 0 && backendRequest > request ? "backendRequest must not be longer than request" : null,
    ),
  },
  { later: ["retry", "sessionPersistence"] },
);
/** What the CRD's own rules refuse. */
const rule = check(ruleFields, ({ matches = [], filters = [], backendRefs = [] }) => {
  const types = filters.map((f) => f?.type);
  const twice = types.find((type, i) => type !== undefined && types.indexOf(type) !== i);
  if (twice !== undefined) return `has the filter ${twice} twice: say it once`;
  const redirects = types.includes("RequestRedirect");
  if (redirects && types.includes("URLRewrite")) return "has both RequestRedirect and URLRewrite: say one";
  if (redirects && backendRefs.length > 0) return "has both RequestRedirect and backendRefs: say one";
  const replaces = filters.some(
    (f) => (f?.requestRedirect ?? f?.urlRewrite)?.path?.type === "ReplacePrefixMatch",
  );
  const prefix = (m: HttpRouteMatchSpec) => (m?.path?.type ?? "PathPrefix") === "PathPrefix";
  if (replaces && !(matches.length <= 1 && matches.every(prefix)))
    return "ReplacePrefixMatch needs exactly one match, of type PathPrefix";
  return null;
});
export const kubeHttpRouteSpec = object(
  {
    parentRefs: list(
      object({ group: str, kind: str, name: required(str), namespace: str, sectionName: str, port }),
    ),
    hostnames: list(host),
    rules: list(rule),
  },
  { later: ["useDefaultGateways"] },
);
