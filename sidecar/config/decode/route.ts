/** RouteConfiguration -> RouteTable. */

import type { Any } from "@bufbuild/protobuf/wkt";
import {
  RouteAction_ClusterNotFoundResponseCode as NotFound,
  type RouteMatch,
  type RouteAction as WireAction,
  type VirtualHost as WireHost,
  type RedirectAction as WireRedirect,
  type RetryPolicy as WireRetry,
  type Route as WireRoute,
} from "#xds/gen/envoy/config/route/v3/route_components_pb.js";
import type { RouteConfiguration } from "#xds/gen/envoy/config/route/v3/route_pb.js";
import { HTTPFaultSchema } from "#xds/gen/envoy/extensions/filters/http/fault/v3/fault_pb.js";
import { RBACPerRouteSchema } from "#xds/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import { isAuthority } from "../../http1/head-syntax.ts";
import { DomainIndex } from "../../route/domain.ts";
import { RouteTable, withoutPort } from "../../route/table.ts";
import type {
  HeadView,
  RedirectAction,
  RetryPolicy,
  Route,
  RouteAction,
  VirtualHost,
  WeightedCluster,
} from "../../snapshot.ts";
import { typeOf, unpack } from "./any.ts";
import { decodeFault, perMillion } from "./fault.ts";
import { decodeHeader } from "./header.ts";
import { decodeHeaders, endsLine, targetText } from "./header-mutations.ts";
import { milliseconds, type Problems } from "./problems.ts";
import { decodeRbac } from "./rbac.ts";
import { compileRegex, compileSubstitution } from "./regex.ts";
import { decodeString } from "./string.ts";

/** A domain that two virtual hosts claim is an error, as in Envoy. */
export function decodeRoutes(wire: RouteConfiguration, problems: Problems): RouteTable {
  const seen = new DomainIndex<string>();
  const hosts = wire.virtualHosts.map((host, i) => {
    const at = problems.at("virtual_hosts").at(i);
    for (const domain of host.domains) {
      if (!seen.add(domain, host.name))
        at.at("domains").error(
          `${domain} is in ${JSON.stringify(seen.find(domain))} already: a domain may stand in one virtual host only`,
        );
    }
    return decodeHost(host, at);
  });
  return new RouteTable(wire.name, hosts, wire.ignorePortInHostMatching, decodeHeaders(wire, problems));
}

function decodeHost(wire: WireHost, problems: Problems): VirtualHost {
  const inherited =
    wire.retryPolicy === undefined ? null : decodeRetry(wire.retryPolicy, problems.at("retry_policy"));
  return {
    name: wire.name,
    domains: wire.domains,
    routes: wire.routes.map((route, i) =>
      decodeRoute(route, inherited, wire.typedPerFilterConfig, problems.at("routes").at(i)),
    ),
    retryPolicy: inherited,
    includeAttemptCount: wire.includeRequestAttemptCount,
    headers: decodeHeaders(wire, problems),
  };
}

function decodeRoute(
  wire: WireRoute,
  inherited: RetryPolicy | null,
  hostConfig: Record<string, Any>,
  problems: Problems,
): Route {
  const match = decodeMatch(wire.match, problems.at("match"));
  const metadata = wire.metadata?.filterMetadata ?? {};
  const config = metadata.istio?.config;
  const source = metadata.weft?.source;
  return {
    name: wire.name,
    match,
    action: decodeAction(wire, match.prefix, inherited, problems),
    headers: decodeHeaders(wire, problems),
    ...decodePerFilter(
      { ...hostConfig, ...wire.typedPerFilterConfig },
      problems.at("typed_per_filter_config"),
    ),
    metadata,
    config: typeof config === "string" ? config : null,
    source: typeof source === "string" ? source : null,
    decorator: wire.decorator?.operation ?? null,
  };
}

function decodePerFilter(configs: Record<string, Any>, problems: Problems): Pick<Route, "fault" | "rbac"> {
  let fault: Route["fault"] = null;
  let rbac: Route["rbac"] = null;
  for (const [name, any] of Object.entries(configs)) {
    const at = problems.at(`["${name}"]`);
    const faultWire = unpack(any, HTTPFaultSchema, at);
    const rbacWire = unpack(any, RBACPerRouteSchema, at);
    if (faultWire !== undefined) fault = decodeFault(faultWire, at);
    else if (rbacWire !== undefined) {
      rbac = rbacWire.rbac === undefined ? { rules: null } : decodeRbac(rbacWire.rbac, at);
    } else at.warn(`per-route configuration of type ${typeOf(any)} has no effect here`);
  }
  return { fault, rbac };
}

type Test = (head: HeadView, path: string, query: string) => boolean;

function decodeMatch(wire: RouteMatch | undefined, problems: Problems): Route["match"] {
  if (wire === undefined) {
    problems.error("missing");
    return { text: "(none)", prefix: null, matches: () => false };
  }
  const fold = wire.caseSensitive === false;
  const path = decodePath(wire, fold, problems);
  const tests: Test[] = [];
  if (path.test !== null) tests.push(path.test);
  const text = [path.text];
  wire.headers.forEach((header, i) => {
    const match = decodeHeader(header, problems.at("headers").at(i));
    text.push(match.text);
    tests.push((head) => match.matches(head));
  });
  wire.queryParameters.forEach((parameter, i) => {
    const at = problems.at("query_parameters").at(i);
    const spec = parameter.queryParameterMatchSpecifier;
    const matcher = spec.case === "stringMatch" ? decodeString(spec.value, at) : null;
    const present = spec.case === "presentMatch" ? spec.value : true;
    text.push(`?${parameter.name}`);
    tests.push((_head, _path, query) => {
      const value = new URLSearchParams(query).get(parameter.name);
      return matcher === null ? (value !== null) === present : value !== null && matcher.matches(value);
    });
  });
  if (wire.grpc !== undefined)
    tests.push((head) => /^application\/grpc(\+|;|$)/.test(head.get("content-type") ?? ""));
  if (wire.runtimeFraction !== undefined) {
    const part = perMillion(wire.runtimeFraction.defaultValue, 1_000_000);
    if (part < 1_000_000) tests.push(() => Math.random() * 1_000_000 < part);
  }
  if (wire.dynamicMetadata.length > 0) {
    problems
      .at("dynamic_metadata")
      .warn("no filter of this proxy writes dynamic metadata: the route matches only inverted conditions");
    const matches = wire.dynamicMetadata.every((m) => m.invert);
    tests.push(() => matches);
  }
  if (wire.tlsContext !== undefined || wire.filterState.length > 0 || wire.cookies.length > 0) {
    problems.error("tls_context, filter_state and cookies conditions are not supported");
  }
  const [first, second] = tests;
  const matches: Test =
    first === undefined
      ? () => true
      : second === undefined
        ? first
        : (head, p, query) => tests.every((test) => test(head, p, query));
  return { text: text.join(" "), prefix: path.prefix, matches };
}

function decodePath(
  wire: RouteMatch,
  fold: boolean,
  problems: Problems,
): { text: string; prefix: string | null; test: Test | null } {
  const spec = wire.pathSpecifier;
  const on = (test: (path: string) => boolean): Test =>
    fold ? (_head, path) => test(path.toLowerCase()) : (_head, path) => test(path);
  switch (spec.case) {
    case "prefix": {
      const prefix = fold ? spec.value.toLowerCase() : spec.value;
      return {
        text: `prefix ${spec.value}`,
        prefix: spec.value,
        test:
          prefix === "" || prefix === "/"
            ? on((path) => path.startsWith(prefix) || path === "*")
            : on((path) => path.startsWith(prefix)),
      };
    }
    case "path": {
      const exact = fold ? spec.value.toLowerCase() : spec.value;
      return { text: `path ${spec.value}`, prefix: spec.value, test: on((path) => path === exact) };
    }
    case "pathSeparatedPrefix": {
      const prefix = fold ? spec.value.toLowerCase() : spec.value;
      return {
        text: `path-prefix ${spec.value}`,
        prefix: spec.value,
        test: on(
          (path) => path.startsWith(prefix) && (path.length === prefix.length || path[prefix.length] === "/"),
        ),
      };
    }
    case "safeRegex": {
      const test = compileRegex(spec.value.regex, problems.at("safe_regex"), fold);
      return { text: `regex ${spec.value.regex}`, prefix: null, test: (_head, path) => test(path) };
    }
    case "connectMatcher":
      return { text: "CONNECT", prefix: null, test: (head) => head.method === "CONNECT" };
    default:
      problems.error(`path specifier ${spec.case ?? "(none)"} is not supported`);
      return { text: "(none)", prefix: null, test: () => false };
  }
}

function decodeAction(
  wire: WireRoute,
  prefix: string | null,
  inherited: RetryPolicy | null,
  problems: Problems,
): Route["action"] {
  switch (wire.action.case) {
    case "route":
      return decodeForward(wire.action.value, prefix, inherited, problems.at("route"));
    case "redirect":
      return decodeRedirect(wire.action.value, prefix, problems.at("redirect"));
    case "directResponse": {
      const body = wire.action.value.body?.specifier;
      const text =
        body?.case === "inlineString"
          ? body.value
          : body?.case === "inlineBytes"
            ? new TextDecoder().decode(body.value)
            : "";
      const { status } = wire.action.value;
      if (status < 200 || status > 599)
        problems.at("direct_response.status").error(`${status} is not within 200 and 599`);
      return { kind: "direct-response", status, body: text };
    }
    default:
      problems.error(`action ${wire.action.case ?? "(none)"} is not supported`);
      return { kind: "direct-response", status: 500, body: "" };
  }
}

function decodeForward(
  wire: WireAction,
  prefix: string | null,
  inherited: RetryPolicy | null,
  problems: Problems,
): RouteAction {
  const spec = wire.clusterSpecifier;
  let clusters: WeightedCluster[] = [];
  let clusterHeader: string | null = null;
  if (spec.case === "cluster") clusters = [{ name: spec.value, weight: 1, headers: null, hostRewrite: null }];
  else if (spec.case === "clusterHeader") clusterHeader = spec.value.toLowerCase();
  else if (spec.case === "weightedClusters") {
    clusters = spec.value.clusters.map((c, i) => {
      const at = problems.at("weighted_clusters.clusters").at(i);
      const host = c.hostRewriteSpecifier;
      return {
        name: c.name,
        weight: c.weight ?? 0,
        headers: decodeHeaders(c, at),
        hostRewrite: host.case === "hostRewriteLiteral" ? authority(host.value, at) : null,
      };
    });
  } else problems.error(`cluster specifier ${spec.case ?? "(none)"} is not supported`);
  const totalWeight = clusters.reduce((sum, c) => sum + c.weight, 0);
  if (clusterHeader === null && totalWeight === 0) problems.error("the weights of the clusters add up to 0");
  const upgrades = wire.upgradeConfigs
    .filter((u) => u.enabled !== false)
    .map((u) => u.upgradeType.toLowerCase());
  const host = wire.hostRewriteSpecifier;
  const max = wire.maxStreamDuration;
  if (wire.requestMirrorPolicies.length > 0) problems.at("request_mirror_policies").warn("is ignored");
  if (wire.hashPolicy.length > 0) problems.at("hash_policy").warn("is ignored");
  if (host.case === "hostRewriteHeader" || host.case === "hostRewritePathRegex")
    problems.warn(`${host.case} is not supported: the authority stays`);
  return {
    kind: "route",
    clusters,
    totalWeight,
    clusterHeader,
    clusterNotFoundStatus:
      wire.clusterNotFoundResponseCode === NotFound.NOT_FOUND
        ? 404
        : wire.clusterNotFoundResponseCode === NotFound.INTERNAL_SERVER_ERROR
          ? 500
          : 503,
    timeoutMs: milliseconds(wire.timeout, 15_000),
    maxStreamDurationMs: max?.maxStreamDuration === undefined ? null : milliseconds(max.maxStreamDuration, 0),
    idleTimeoutMs: wire.idleTimeout === undefined ? null : milliseconds(wire.idleTimeout, 0),
    retryPolicy:
      wire.retryPolicy === undefined ? inherited : decodeRetry(wire.retryPolicy, problems.at("retry_policy")),
    hostRewrite: host.case === "hostRewriteLiteral" ? authority(host.value, problems) : null,
    autoHostRewrite: host.case === "autoHostRewrite" && host.value?.value === true,
    rewritePath: decodeRewrite(wire.prefixRewrite, wire.regexRewrite, prefix, problems),
    upgrades: upgrades.filter((type) => type !== "connect"),
    endsConnect: wire.upgradeConfigs.some(
      (u) =>
        u.enabled !== false && u.upgradeType.toLowerCase() === "connect" && u.connectConfig !== undefined,
    ),
  };
}

/** A literal that goes out as Host; null where it is empty. */
function authority(text: string, problems: Problems): string | null {
  if (text === "") return null;
  if (!isAuthority(text)) problems.at("host_rewrite_literal").error(`${JSON.stringify(text)} is no host`);
  return text;
}

/** A path stays one, whatever a substitution leaves of it. */
const absolute = (path: string): string => (path.startsWith("/") ? path : `/${path}`);

function decodeRewrite(
  to: string,
  regex: WireAction["regexRewrite"],
  prefix: string | null,
  problems: Problems,
): ((path: string) => string) | null {
  if (regex !== undefined) {
    const substitute = compileSubstitution(
      regex.pattern?.regex ?? "",
      targetText(regex.substitution, problems.at("regex_rewrite")),
      problems.at("regex_rewrite"),
    );
    return (target) => {
      const end = target.indexOf("?");
      return end < 0
        ? absolute(substitute(target))
        : absolute(substitute(target.slice(0, end))) + target.slice(end);
    };
  }
  if (to === "") return null;
  if (prefix === null) {
    problems.at("prefix_rewrite").warn("has no effect: the route matches no prefix");
    return null;
  }
  const start = targetText(to, problems.at("prefix_rewrite"));
  return (target) => absolute(start + target.slice(prefix.length));
}

const REDIRECT_STATUS = [301, 302, 303, 307, 308] as const;

function decodeRedirect(wire: WireRedirect, prefix: string | null, problems: Problems): RedirectAction {
  const path = wire.pathRewriteSpecifier;
  const rewrite =
    path.case === "prefixRewrite" || path.case === "regexRewrite"
      ? decodeRewrite(
          path.case === "prefixRewrite" ? path.value : "",
          path.case === "regexRewrite" ? path.value : undefined,
          prefix,
          problems,
        )
      : null;
  const scheme = wire.schemeRewriteSpecifier;
  const whole = path.case === "pathRedirect" ? targetText(path.value, problems.at("path_redirect")) : "";
  if (endsLine(wire.hostRedirect) || (scheme.case === "schemeRedirect" && endsLine(scheme.value)))
    problems.error("host_redirect and scheme_redirect hold no CR, LF or NUL");
  return {
    kind: "redirect",
    status: REDIRECT_STATUS[wire.responseCode] ?? 301,
    location: (from, authority, target) => {
      const to =
        scheme.case === "httpsRedirect"
          ? scheme.value
            ? "https"
            : from
          : scheme.case === "schemeRedirect" && scheme.value !== ""
            ? scheme.value
            : from;
      let host = wire.hostRedirect === "" ? authority : wire.hostRedirect;
      // The well-known port is not shown (Gateway API); Envoy would show it.
      if (wire.portRedirect === (to === "https" ? 443 : 80)) host = withoutPort(host);
      else if (wire.portRedirect !== 0) host = `${withoutPort(host)}:${wire.portRedirect}`;
      // A changed scheme makes the old default port wrong (Envoy drops :80 and :443 then).
      else if (to !== from) host = host.replace(from === "http" ? /:80$/ : /:443$/, "");
      const mark = target.indexOf("?");
      const query = mark < 0 || wire.stripQuery ? "" : target.slice(mark);
      const bare = mark < 0 ? target : target.slice(0, mark);
      const next =
        whole !== "" ? (whole.includes("?") ? whole : whole + query) : (rewrite?.(bare) ?? bare) + query;
      return `${to}://${host}${next}`;
    },
  };
}

function decodeRetry(wire: WireRetry, problems: Problems): RetryPolicy {
  const tokens = new Set(wire.retryOn.split(",").map((token) => token.trim()));
  const codes = [...wire.retriableStatusCodes];
  const base = Math.max(1, milliseconds(wire.retryBackOff?.baseInterval, 25));
  const grpc: [string, number][] = [
    ["cancelled", 1],
    ["deadline-exceeded", 4],
    ["resource-exhausted", 8],
    ["internal", 13],
    ["unavailable", 14],
  ];
  if (wire.retriableRequestHeaders.length > 0) problems.at("retriable_request_headers").warn("is ignored");
  return {
    on: {
      http5xx: tokens.has("5xx"),
      gatewayError: tokens.has("gateway-error"),
      reset: tokens.has("reset"),
      resetBeforeRequest: tokens.has("reset-before-request"),
      connectFailure: tokens.has("connect-failure"),
      retriable4xx: tokens.has("retriable-4xx"),
      retriableStatusCodes: tokens.has("retriable-status-codes"),
      retriableHeaders: tokens.has("retriable-headers"),
      grpcStatus: grpc.filter(([name]) => tokens.has(name)).map(([, status]) => status),
    },
    numRetries: wire.numRetries ?? 1,
    perTryTimeoutMs: milliseconds(wire.perTryTimeout, 0),
    backOffBaseMs: base,
    backOffMaxMs: milliseconds(wire.retryBackOff?.maxInterval, base * 10),
    avoidPreviousHosts: wire.retryHostPredicate.some((p) => p.name.includes("previous_hosts")),
    retriableStatusCodes: codes,
    retriableHeaders: wire.retriableHeaders.map((h) => h.name.toLowerCase()),
  };
}
