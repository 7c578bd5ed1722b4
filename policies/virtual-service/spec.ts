import { RE2JS } from "re2js";
import {
  bool,
  check,
  duration,
  type Infer,
  int,
  isHost,
  labels,
  list,
  map,
  NOT_A_HOST,
  object,
  oneOf,
  percent,
  port,
  positiveDuration,
  redirectStatus,
  regex,
  required,
  type Schema,
  str,
  unlessEmpty,
} from "../schema.ts";

const stringMatchFields = object({ exact: str, prefix: str, regex });
/** `{}` means "present". */
const stringMatch = check(stringMatchFields, (m) =>
  Object.values(m).filter((v) => v !== undefined).length > 1
    ? "has more than one of exact, prefix, regex"
    : null,
);
export type StringMatchSpec = Infer<typeof stringMatch>;

/** A group that does not exist; a broken pattern was reported before. */
function rewriteFault({ match, rewrite }: { match: string; rewrite: string }): string | null {
  let groups: number;
  try {
    groups = RE2JS.compile(match).groupCount();
  } catch {
    return null;
  }
  const named = [...rewrite.matchAll(/\\\\|\\(\d)/g)].find((m) => Number(m[1] ?? 0) > groups);
  return named ? `rewrite names group ${named[0]}, and match has ${groups}` : null;
}

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
const grpcStatus: Schema<number> = (v, path, report) => {
  const number = /^\d+$/.test(String(v)) ? Number(v) : GRPC_STATUS.indexOf(String(v));
  if (number >= 0 && number < GRPC_STATUS.length) return number;
  report(path, "wrong-type", `must be a gRPC status such as "UNAVAILABLE", not ${JSON.stringify(v)}`);
  return undefined;
};

const percentage = object({ value: percent });
const headerChange = object({ set: labels, add: labels, remove: list(str) });
const headers = object({ request: headerChange, response: headerChange });
export type HeadersSpec = Infer<typeof headers>;

const destination = object({
  host: required(check(str, (text) => (isHost(text) ? null : NOT_A_HOST))),
  subset: unlessEmpty(str),
  port: object({ number: port }),
});
export type DestinationSpec = Infer<typeof destination>;

const httpMatch = object(
  {
    name: str,
    uri: stringMatch,
    ignoreUriCase: bool,
    scheme: stringMatch,
    method: stringMatch,
    authority: stringMatch,
    headers: map(stringMatch),
    withoutHeaders: map(stringMatch),
    queryParams: map(stringMatch),
    port: port,
    sourceLabels: labels,
    sourceNamespace: str,
    gateways: list(str),
  },
  { later: ["statPrefix"] },
);
export type HttpMatchSpec = Infer<typeof httpMatch>;

const httpRoute = check(
  object(
    {
      name: str,
      match: list(httpMatch),
      route: list(object({ destination: required(destination), weight: int(0), headers })),
      redirect: check(
        object({
          uri: str,
          prefixRewrite: str,
          authority: str,
          port: port,
          derivePort: oneOf("FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"),
          scheme: str,
          redirectCode: redirectStatus,
        }),
        (r) =>
          r.uri !== undefined && r.prefixRewrite !== undefined
            ? "has both uri and prefixRewrite: say one"
            : r.port !== undefined && r.derivePort !== undefined
              ? "has both port and derivePort: say one"
              : null,
      ),
      directResponse: object({
        status: required(int(200, 599)),
        body: object({ string: str }, { later: ["bytes"] }),
      }),
      rewrite: object({
        uri: str,
        authority: str,
        uriRegexRewrite: check(object({ match: required(regex), rewrite: required(str) }), rewriteFault),
      }),
      timeout: duration,
      retries: object({
        attempts: int(0, 1000),
        perTryTimeout: duration,
        retryOn: str,
        backoff: duration,
        retryRemoteLocalities: bool,
        retryIgnorePreviousHosts: bool,
      }),
      fault: object({
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
      headers,
      delegate: object({ name: required(str), namespace: str }),
    },
    { later: ["mirror", "mirrors", "mirrorPercentage", "mirrorPercent", "corsPolicy"] },
  ),
  (r) => {
    const actions = [r.route, r.redirect, r.directResponse, r.delegate].filter((a) => a !== undefined).length;
    return actions === 1 ? null : "needs exactly one of route, redirect, directResponse, delegate";
  },
);
export type HttpRouteSpec = Infer<typeof httpRoute>;

const l4Fields = { port, sourceLabels: labels, sourceNamespace: str, gateways: list(str) };
const l4Later = { later: ["destinationSubnets", "sourceSubnet"] } as const;
const l4Match = object(l4Fields, l4Later);
export type L4MatchSpec = Infer<typeof l4Match>;
const l4Route = list(object({ destination: required(destination), weight: int(0) }));
const host = check(str, (text) => (isHost(text) ? null : NOT_A_HOST));
export const virtualServiceSpec = object({
  hosts: list(host),
  gateways: list(str),
  http: list(httpRoute),
  tls: list(
    object({
      match: required(list(object({ sniHosts: required(list(host)), ...l4Fields }, l4Later))),
      route: required(l4Route),
    }),
  ),
  tcp: list(object({ match: list(l4Match), route: required(l4Route) })),
  exportTo: list(str),
});
