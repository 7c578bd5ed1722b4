/**
 * What policies may put into message heads and compare with them. One checker for all kinds: whatever passes here Envoy
 * takes, stands on one line, and means the same on both data planes.
 */
import { RE2JS } from "re2js";
import { check, list, map, object, refine, regexFault, type Schema, text } from "./schema.ts";

/** RFC 9110 5.6.2. */
const TOKEN = /^[-!#$%&'*+.^_`|~0-9A-Za-z]+$/;
/** RFC 9110 5.5: what may not stand in a field's value. */
const CONTROL = /[\u0000-\u0008\u000a-\u001f\u007f]/;
/** envoy.config.core.v3.HeaderValue: key and value have at most 16 KiB. */
const MOST_BYTES = 16_384;
const LONGEST_NAME = 256;

/** They say where a message ends and what a connection does: proxies write them (RFC 9110 7.6.1, RFC 9112 6). */
const FRAMING = new Set([
  "connection",
  "content-length",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** The Host field, by either of its names. */
function isAuthority(name: string): boolean {
  return /^(host|:authority)$/i.test(name);
}

function nameFault(name: string): string | null {
  if (!TOKEN.test(name))
    return `must be a header name: letters, digits and !#$%&'*+-.^_\`|~, not ${JSON.stringify(name)}`;
  return name.length > LONGEST_NAME ? `is longer than ${LONGEST_NAME} characters` : null;
}

function changeFault(name: string): string | null {
  if (name.startsWith(":")) return `${name} is no header: use rewrite`;
  if (isAuthority(name))
    return "the Host can be set in requests only (headers.request.set, rewrite.authority)";
  if (FRAMING.has(name.toLowerCase()))
    return `${name} belongs to the connection: proxies write it themselves`;
  return nameFault(name);
}

/** Of a condition on a header. */
export const headerName = check(text("header-name"), nameFault);
/** Of a header that is added, set or removed. */
const changedName = check(text("header-name"), changeFault);
/** In requests `Host` and `:authority` stand for the authority, as in Istio. */
const requestName = check(text("request-header-name"), (name) =>
  isAuthority(name) ? null : changeFault(name),
);

/** Commands of Envoy's formatter that Weft's sidecars know, too (sidecar/route/format.ts; test/fuzz holds that). */
const COMMANDS = [
  "DOWNSTREAM_LOCAL_ADDRESS",
  "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
  "DOWNSTREAM_LOCAL_PORT",
  "DOWNSTREAM_PEER_URI_SAN",
  "DOWNSTREAM_REMOTE_ADDRESS",
  "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
  "HOSTNAME",
  "PROTOCOL",
  "REQ",
  "REQUESTED_SERVER_NAME",
];

/** Istio passes values on to Envoy's formatter: `%%` is one percent, %NAME% and %REQ(name)% are commands. */
function formatFault(value: string): string | null {
  const rest = value
    .replace(/%%/g, "")
    .replace(
      /%([A-Z][A-Z0-9_]*)(?:\(([^()%]*)\))?(?::(\d{1,5}))?%/g,
      (whole, command: string, argument: string | undefined) => {
        if (!COMMANDS.includes(command)) return whole;
        return (command === "REQ") === (argument !== undefined) && argumentFits(argument) ? "" : whole;
      },
    );
  if (!rest.includes("%")) return null;
  return `has a "%" that is neither "%%" (one percent) nor a command that every proxy knows: ${COMMANDS.map((c) => (c === "REQ" ? "%REQ(name)%" : `%${c}%`)).join(", ")}`;
}
/** "name", or "name?other" where the first is missing. */
function argumentFits(argument: string | undefined): boolean {
  if (argument === undefined) return true;
  const names = argument.split("?");
  return names.length <= 2 && names.every((n) => /^(:(path|method|authority))$/i.test(n) || TOKEN.test(n));
}

function valueFault(value: string): string | null {
  if (CONTROL.test(value)) return "must be one line without control characters";
  if (Buffer.byteLength(value) > MOST_BYTES) return `is longer than ${MOST_BYTES} bytes`;
  return formatFault(value);
}
const headerValue = check(text("header-value"), valueFault);

/** A host, or host:port; an IPv6 address stands in brackets. */
function authorityFault(value: string): string | null {
  const [, host, port] = /^(\[[0-9a-fA-F:.]+\]|[-._~0-9A-Za-z]+)(?::(\d{1,5}))?$/.exec(value) ?? [];
  if (host === undefined || host.length > 253)
    return `must be a host, or host:port, not ${JSON.stringify(value)}`;
  return port !== undefined && (Number(port) < 1 || Number(port) > 65535)
    ? `port ${port} does not exist`
    : null;
}
export const authority = check(text("authority"), authorityFault);

/** RFC 3986: printable characters of ASCII without blank and "#"; a proxy would send anything else as it stands. */
const IN_TARGET = /^[!"$-~]*$/;
/** What is wrong with a path and query that is to be sent; null = nothing. */
export function targetFault(value: string): string | null {
  if (!value.startsWith("/")) return `must begin with "/", not ${JSON.stringify(value)}`;
  if (!IN_TARGET.test(value))
    return "must have no blanks, control characters, # and characters outside of ASCII: write them as %XX";
  return value.length > MOST_BYTES ? `is longer than ${MOST_BYTES} bytes` : null;
}
/** A path, with or without a query. */
export const target = check(text("target"), targetFault);
/** Of a condition: the path may be nothing that a request can have, and is then never met. */
export const pathMatch = check(text("path"), (value) =>
  CONTROL.test(value) || value.length > MOST_BYTES
    ? `must be at most ${MOST_BYTES} printable characters`
    : null,
);
/** A value that is compared with a header. */
export const comparedValue = check(text("any"), (value) =>
  CONTROL.test(value) || Buffer.byteLength(value) > MOST_BYTES
    ? `must be one line of at most ${MOST_BYTES} bytes`
    : null,
);

/** Changes of a head as Istio's VirtualService writes them. */
const changes = (name: Schema<string>) =>
  refine(
    object({ set: map(headerValue, name), add: map(headerValue, name), remove: list(changedName) }),
    (h, at, report) => {
      const authorities = [h.set, h.add].flatMap((m, i) =>
        Object.entries(m ?? {})
          .filter(([name]) => isAuthority(name))
          .map(([name, value]) => ({ at: [...at, i === 0 ? "set" : "add", name], value })),
      );
      for (const [i, a] of authorities.entries()) {
        authority(a.value, a.at, report);
        if (i > 0) report(a.at, "invalid-value", "the authority is set twice");
      }
    },
  );
export const requestHeaders = changes(requestName);
export const responseHeaders = changes(changedName);

/** The same as the Gateway API writes them. */
const pairs = (name: Schema<string>) =>
  refine(list(object({ name: { required: name }, value: { required: headerValue } })), (all, at, report) => {
    const seen = new Set<string>();
    for (const [i, { name, value }] of all.entries()) {
      if (isAuthority(name)) authority(value, [...at, i, "value"], report);
      if (seen.has(name.toLowerCase())) report([...at, i, "name"], "invalid-value", `${name} is named twice`);
      seen.add(name.toLowerCase());
    }
  });
const modifier = (name: Schema<string>) =>
  object({ set: pairs(name), add: pairs(name), remove: list(changedName) });
export const requestModifier = modifier(requestName);
export const responseModifier = modifier(changedName);

const GRPC_TOKENS = ["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"];
/** Envoy's x-envoy-retry-on and x-envoy-retry-grpc-on, as Istio takes them. */
const RETRY_TOKENS = new Set([
  "5xx",
  "gateway-error",
  "reset",
  "reset-before-request",
  "connect-failure",
  "retriable-4xx",
  "refused-stream",
  "retriable-status-codes",
  "retriable-headers",
  "envoy-ratelimited",
  "http3-post-connect-failure",
  ...GRPC_TOKENS,
]);
/** "5xx,reset,429": tokens and status codes. */
export const retryOn = check(text("retry-on"), (value) => {
  const wrong = value
    .split(",")
    .map((t) => t.trim())
    .find((t) => !RETRY_TOKENS.has(t) && !/^[1-5]\d\d$/.test(t));
  return wrong === undefined
    ? null
    : `"${wrong}" is no condition for a retry: use ${[...RETRY_TOKENS].join(", ")} or a status code`;
});

/** Istio's limits of a directResponse; what we write lets Envoy take as much (write/routes.ts). */
const MOST_BODY = 1_048_576;
/** RFC 9110 6.4.1: answers that have no content. */
const WITHOUT_BODY = [204, 205, 304];
/** What is wrong with an answer of the proxy itself; null = nothing. */
export function responseFault(status: number, body: string): string | null {
  if (Buffer.byteLength(body) > MOST_BODY) return `the body is longer than ${MOST_BODY} bytes`;
  return body !== "" && WITHOUT_BODY.includes(status) ? `an answer ${status} has no body` : null;
}

/**
 * A regular expression rewrite of a path must leave a path: it begins with "/" where the substitution does, or where it
 * begins with a group that does, or where the pattern cannot touch the beginning.
 */
export function rewriteFault({ match, rewrite }: { match: string; rewrite: string }): string | null {
  if (match === "" || rewrite === "") return "needs both match and rewrite";
  const broken = regexFault(match);
  if (broken !== null) return `match ${broken}`;
  const groups = RE2JS.compile(match).groupCount();
  const named = [...rewrite.matchAll(/\\\\|\\(\d)/g)].find((m) => Number(m[1] ?? 0) > groups);
  if (named) return `rewrite names group ${named[0]}, and match has ${groups}`;
  if (/\\(?![\d\\])/.test(rewrite.replace(/\\\\/g, "")))
    return 'a "\\" in rewrite stands before a digit or another "\\"';
  if (!IN_TARGET.test(rewrite.replace(/\\[\d\\]/g, ""))) return "rewrite has characters that no path has";
  if (rewrite.startsWith("/") || rewrite.startsWith("\\0")) return null;
  const group = /^\\(\d)/.exec(rewrite);
  if (group !== null ? groupBeginsWithSlash(match, Number(group[1])) : cannotTouchBeginning(match))
    return null;
  return 'may leave a path that does not begin with "/": let rewrite, or its first group, begin with "/"';
}

/** Its first character is a "/" that is always there, and the group is always taken part in. */
function groupBeginsWithSlash(pattern: string, wanted: number): boolean {
  if (pattern.includes("|")) return false;
  let group = 0;
  for (let i = 0; i < pattern.length; i++) {
    if (pattern[i] === "\\") i++;
    else if (pattern[i] === "[") i = pattern.indexOf("]", i + 2);
    else if (pattern[i] === "(") {
      const name = /^\(\?P?<\w+>/.exec(pattern.slice(i))?.[0];
      if (pattern[i + 1] === "?" && name === undefined) continue;
      group++;
      if (group !== wanted) continue;
      const end = closing(pattern, i);
      const body = pattern.slice(i + (name?.length ?? 1));
      return (
        /^\/(?![?*{])/.test(body) && !/^[?*{]/.test(pattern.slice(end + 1)) && !insideOptional(pattern, i)
      );
    }
    if (i < 0) return false;
  }
  return false;
}

/** Where the group that opens at `open` closes. */
function closing(pattern: string, open: number): number {
  let depth = 0;
  for (let i = open; i < pattern.length; i++) {
    if (pattern[i] === "\\") i++;
    else if (pattern[i] === "(") depth++;
    else if (pattern[i] === ")" && --depth === 0) return i;
  }
  return pattern.length;
}

/** A group around `at` may be left out. */
function insideOptional(pattern: string, at: number): boolean {
  for (let open = pattern.indexOf("("); open >= 0 && open < at; open = pattern.indexOf("(", open + 1)) {
    const end = closing(pattern, open);
    if (end > at && /^[?*{]/.test(pattern.slice(end + 1))) return true;
  }
  return false;
}

/** It begins with a letter or digit that must be there; a path begins with "/". */
function cannotTouchBeginning(pattern: string): boolean {
  return !pattern.includes("|") && /^[-\w%~](?![?*{])/.test(pattern);
}
