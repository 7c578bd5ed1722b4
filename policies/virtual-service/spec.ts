import { exportTo } from "../export-to.ts";
import {
  authority,
  comparedValue,
  headerName,
  pathMatch,
  requestHeaders,
  responseFault,
  responseHeaders,
  retryOn,
  rewriteFault,
  target,
} from "../http-values.ts";
import {
  bool,
  check,
  duration,
  type Infer,
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
  percent,
  port,
  positiveDuration,
  redirectStatus,
  refine,
  regex,
  required,
  type Schema,
  shaped,
  str,
  text,
  unlessEmpty,
} from "../schema.ts";

const oneKind = (m: Readonly<Record<string, unknown>>): string | null =>
  Object.values(m).filter((v) => v !== undefined).length > 1
    ? "has more than one of exact, prefix, regex"
    : null;
const notEmpty = check(comparedValue, (t) => (t === "" ? "must not be empty: say `{}` for any value" : null));
/** `{}` means "present", `exact: ""` an empty value. */
const stringMatch = check(object({ exact: comparedValue, prefix: notEmpty, regex }), oneKind);
/** Istio takes `regex: "*"` for "present" where a header is not to be there. */
const absentMatch = check(
  object({
    exact: comparedValue,
    prefix: notEmpty,
    regex: ((v, path, report) => (v === "*" ? undefined : regex(v, path, report))) satisfies Schema<string>,
  }),
  oneKind,
);
/** Every path begins with the empty prefix. */
const uriMatch = check(object({ exact: pathMatch, prefix: pathMatch, regex }), oneKind);
export type StringMatchSpec = Infer<typeof stringMatch>;

const GRPC_STATUS = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
];
/** A name such as "UNAVAILABLE", or its number. */
const grpcStatus: Schema<number> = shaped(
  (v, path, report) => {
    const number = /^\d+$/.test(String(v)) ? Number(v) : GRPC_STATUS.indexOf(String(v));
    if (number >= 0 && number < GRPC_STATUS.length) return number;
    report(path, "wrong-type", `must be a gRPC status such as "UNAVAILABLE", not ${JSON.stringify(v)}`);
    return undefined;
  },
  { kind: "one-of", names: GRPC_STATUS },
);

const percentage = object({ value: percent });
const headers = object({ request: requestHeaders, response: responseHeaders });
export type HeadersSpec = Infer<typeof headers>;

const host = check(text("host"), (name) => (isHost(name) ? null : NOT_A_HOST));
const namespace = check(text("namespace"), (name) =>
  isLabel(name) ? null : "must be the name of a namespace",
);
/** It becomes part of names of clusters and of SNI. */
const subset = check(text("subset"), (name) =>
  isLabel(name) ? null : 'must be a name of lower case letters, digits and "-", at most 63 characters',
);
const gateway = check(text("gateway"), (name) =>
  /^[a-z0-9]([-.a-z0-9]*[a-z0-9])?(\/[a-z0-9]([-.a-z0-9]*[a-z0-9])?)?$/.test(name) && name.length <= 253
    ? null
    : `must be "mesh", a Gateway or namespace/Gateway, not ${JSON.stringify(name)}`,
);

/** Shares of one route. Istio: a destination alone takes all, of several each without a weight takes nothing. */
function weights<T extends { weight?: number | undefined }>(route: readonly T[]): string | null {
  const sum = route.reduce((total, { weight }) => total + (weight ?? 0), 0);
  if (route.length > 1 && sum === 0) return "the weights add up to 0: nobody would get a request";
  return sum > MOST_WEIGHT ? `the weights add up to more than ${MOST_WEIGHT}` : null;
}
/** Envoy counts them in 32 bits. */
const MOST_WEIGHT = 2 ** 32 - 1;

const destination = object({
  host: required(check(host, (name) => (name === "*" ? '"*" is no destination: name a service' : null))),
  subset: unlessEmpty(subset),
  port: object({ number: port }),
});
export type DestinationSpec = Infer<typeof destination>;

const httpMatch = object(
  {
    name: comparedValue,
    uri: uriMatch,
    ignoreUriCase: bool,
    scheme: stringMatch,
    method: stringMatch,
    authority: stringMatch,
    headers: map(stringMatch, headerName),
    withoutHeaders: map(absentMatch, headerName),
    queryParams: map(
      stringMatch,
      check(comparedValue, (name) =>
        name === "" || name.length > 1024 ? "must have 1 to 1024 characters" : null,
      ),
    ),
    port: port,
    sourceLabels: labels,
    sourceNamespace: unlessEmpty(namespace),
    gateways: list(gateway),
  },
  { later: ["statPrefix"] },
);
export type HttpMatchSpec = Infer<typeof httpMatch>;

const redirect = check(
  object({
    uri: unlessEmpty(target),
    prefixRewrite: unlessEmpty(target),
    authority: unlessEmpty(authority),
    port,
    derivePort: oneOf("FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"),
    scheme: unlessEmpty(oneOf("http", "https")),
    redirectCode: redirectStatus,
  }),
  (r) =>
    r.uri !== undefined && r.prefixRewrite !== undefined
      ? "has both uri and prefixRewrite: say one"
      : r.port !== undefined && r.derivePort !== undefined
        ? "has both port and derivePort: say one"
        : [r.uri, r.prefixRewrite, r.authority, r.port, r.derivePort, r.scheme].every((x) => x === undefined)
          ? "needs one of uri, prefixRewrite, authority, port, derivePort, scheme: it would lead to itself"
          : null,
);
const directResponse = check(
  object({ status: required(int(200, 599)), body: object({ string: str }, { later: ["bytes"] }) }),
  (r) => responseFault(r.status, r.body?.string ?? ""),
);
const rewrite = check(
  object({
    uri: unlessEmpty(target),
    authority: unlessEmpty(authority),
    uriRegexRewrite: check(object({ match: required(str), rewrite: required(str) }), rewriteFault),
  }),
  (r) =>
    r.uri !== undefined && r.uriRegexRewrite !== undefined
      ? "has both uri and uriRegexRewrite: say one"
      : r.uri === undefined && r.uriRegexRewrite === undefined && r.authority === undefined
        ? "needs one of uri, uriRegexRewrite, authority"
        : null,
);
const retries = check(
  object({
    attempts: int(0),
    perTryTimeout: duration,
    retryOn: unlessEmpty(retryOn),
    backoff: positiveDuration,
    retryRemoteLocalities: bool,
    retryIgnorePreviousHosts: bool,
  }),
  (r) =>
    r.attempts === 0 &&
    (r.perTryTimeout !== undefined || r.retryOn !== undefined || r.retryRemoteLocalities !== undefined)
      ? "attempts: 0 switches retries off, and the other fields would say nothing: take them out"
      : null,
);
const fault = check(
  object({
    delay: object(
      { fixedDelay: required(positiveDuration), percentage },
      { later: ["percent", "exponentialDelay"] },
    ),
    abort: check(
      object({ httpStatus: int(200, 599), grpcStatus, percentage }, { later: ["percent", "http2Error"] }),
      (a) =>
        (a.httpStatus === undefined) === (a.grpcStatus === undefined)
          ? "needs exactly one of httpStatus and grpcStatus"
          : null,
    ),
  }),
  (f) => (f.delay === undefined && f.abort === undefined ? "needs one of delay and abort" : null),
);

const httpRoute = refine(
  object(
    {
      name: comparedValue,
      match: list(httpMatch),
      route: check(
        nonEmptyList(object({ destination: required(destination), weight: int(0), headers })),
        weights,
      ),
      redirect,
      directResponse,
      rewrite,
      timeout: duration,
      retries,
      fault,
      headers,
      delegate: object({ name: required(str), namespace: unlessEmpty(namespace) }),
    },
    { later: ["mirror", "mirrors", "mirrorPercentage", "mirrorPercent", "corsPolicy"] },
  ),
  (r, path, report) => {
    const actions = [r.route, r.redirect, r.directResponse, r.delegate].filter((a) => a !== undefined).length;
    if (actions !== 1)
      report(path, "invalid-value", "needs exactly one of route, redirect, directResponse, delegate");
    for (const field of ["fault", "rewrite"] as const)
      if (r[field] !== undefined && (r.redirect ?? r.directResponse) !== undefined)
        report(
          [...path, field],
          "invalid-value",
          `says nothing beside ${r.redirect === undefined ? "directResponse" : "redirect"}: take it out`,
        );
    if (r.redirect?.prefixRewrite !== undefined)
      for (const [i, m] of (r.match ?? []).entries())
        if (m.uri !== undefined && m.uri.prefix === undefined)
          report([...path, "match", i, "uri"], "invalid-value", "prefixRewrite needs a prefix to replace");
    const authorities = [r.headers?.request?.set, r.headers?.request?.add].flatMap((m) =>
      Object.keys(m ?? {}).filter((name) => /^(host|:authority)$/i.test(name)),
    );
    if (r.rewrite?.authority !== undefined && authorities.length > 0)
      report(
        [...path, "rewrite", "authority"],
        "invalid-value",
        "headers.request sets the authority already",
      );
  },
);
export type HttpRouteSpec = Infer<typeof httpRoute>;

const l4Fields = {
  port,
  sourceLabels: labels,
  sourceNamespace: unlessEmpty(namespace),
  gateways: list(gateway),
};
const l4Later = { later: ["destinationSubnets", "sourceSubnet"] } as const;
const l4Match = object(l4Fields, l4Later);
export type L4MatchSpec = Infer<typeof l4Match>;
const l4Route = check(nonEmptyList(object({ destination: required(destination), weight: int(0) })), weights);
const virtualService = object({
  hosts: list(host),
  gateways: list(gateway),
  http: list(httpRoute),
  tls: list(
    object({
      match: required(nonEmptyList(object({ sniHosts: required(nonEmptyList(host)), ...l4Fields }, l4Later))),
      route: required(l4Route),
    }),
  ),
  tcp: list(object({ match: list(l4Match), route: required(l4Route) })),
  exportTo: exportTo(),
});
export const virtualServiceSpec = refine(virtualService, ({ hosts = [], gateways }, path, report) => {
  const mesh = gateways === undefined || gateways.length === 0 || gateways.includes("mesh");
  const i = hosts.indexOf("*");
  if (mesh && i >= 0)
    report(
      [...path, "hosts", i],
      "invalid-value",
      '"*" is for gateways only: for the mesh it would take every request of every service',
    );
});
