import { RE2JS } from "re2js";
import {
  bool,
  check,
  duration,
  type Infer,
  int,
  labels,
  list,
  map,
  object,
  percent,
  port,
  required,
  str,
} from "../schema.ts";

const regex = check(str, (text) => {
  try {
    RE2JS.compile(text);
    return null;
  } catch (error) {
    return `is not a regular expression of RE2: ${(error as Error).message}`;
  }
});
const stringMatchFields = object({ exact: str, prefix: str, regex });
/** `{}` means "present". */
export const stringMatch = check(stringMatchFields, (m) =>
  Object.values(m).filter((v) => v !== undefined).length > 1
    ? "has more than one of exact, prefix, regex"
    : null,
);
export type StringMatchSpec = Infer<typeof stringMatch>;

const percentage = object({ value: percent });
const headerChange = object({ set: labels, add: labels, remove: list(str) });
const headers = object({ request: headerChange, response: headerChange });
export type HeadersSpec = Infer<typeof headers>;

const destination = object({
  host: required(str),
  subset: str,
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
      redirect: object(
        { uri: str, authority: str, port: port, scheme: str, redirectCode: int(300, 399) },
        { later: ["derivePort", "prefixRewrite"] },
      ),
      directResponse: object({
        status: required(int(200, 599)),
        body: object({ string: str }, { later: ["bytes"] }),
      }),
      rewrite: object({
        uri: str,
        authority: str,
        uriRegexRewrite: object({ match: required(regex), rewrite: required(str) }),
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
          { fixedDelay: required(duration), percentage },
          { later: ["percent", "exponentialDelay"] },
        ),
        abort: object(
          { httpStatus: int(200, 599), percentage },
          { later: ["percent", "grpcStatus", "http2Error"] },
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

const l4Later = { later: ["destinationSubnets", "sourceSubnet"] } as const;
const l4Route = list(object({ destination: required(destination), weight: int(0) }));
export const virtualServiceSpec = object(
  {
    hosts: list(str),
    gateways: list(str),
    http: list(httpRoute),
    tcp: list(
      object({
        match: list(
          object({ port, sourceLabels: labels, sourceNamespace: str, gateways: list(str) }, l4Later),
        ),
        route: required(l4Route),
      }),
    ),
  },
  { later: ["tls", "exportTo"] },
);
export type VirtualServiceSpec = Infer<typeof virtualServiceSpec>;
