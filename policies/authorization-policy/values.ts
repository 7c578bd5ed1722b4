/** What may stand in the lists of an AuthorizationPolicy, as Istio's validation has it (pkg/config/security). */
import { isIP } from "node:net";
import { check, list, refine, type Schema, text } from "../schema.ts";

const OPERATOR = /\{\*\*?\}/;

/**
 * A path template, as Istio documents it: `{*}` and `{**}` each alone in their segment, no operator behind `{**}`, all
 * else literal (RFC 3986 pchar without "*"). Envoy 1.40 aborts on what does not fit. Null: it is one.
 */
function templateFault(path: string): string | null {
  if (!path.startsWith("/")) return "a path template begins with /";
  const segments = path.slice(1).split("/");
  // One slash at the end stands for itself.
  if (segments.length > 1 && segments.at(-1) === "") segments.pop();
  let any = false;
  for (const segment of segments) {
    if (segment === "{*}" || segment === "{**}") {
      if (any) return "in a path template no operator may stand behind {**}";
      any = segment === "{**}";
    } else if (segment.includes("{") || segment.includes("}"))
      return "{*} and {**} stand alone between two slashes, and no other braces are allowed";
    else if (segment === "") return "a path template has no empty segment";
    else if (!/^[-a-zA-Z0-9._~%!$&'()+,;:@=]+$/.test(segment))
      return `"${segment}" cannot stand in a path template: besides {*} and {**} it holds letters, digits and -._~%!$&'()+,;:@=`;
  }
  return null;
}

/** Whether it holds `{*}` or `{**}`; it may be an invalid one. */
export function isTemplate(path: string): boolean {
  return OPERATOR.test(path);
}

function pathFault(path: string): string | null {
  if (isTemplate(path)) return templateFault(path);
  return /[{}]/.test(path) ? "braces may stand only as the operators {*} and {**} of a path template" : null;
}

/** No request, name or address has these characters, so nothing could ever match. */
const CONTROL = /[\u0000-\u001f\u007f]/;

/** @param like what the text stands for */
function value(like: string, fault: (text: string) => string | null = () => null): Schema<string> {
  return check(text(like), (t) => {
    if (t === "") return "must not be empty";
    if (CONTROL.test(t)) return "must have no control characters";
    if (like !== "path" && OPERATOR.test(t)) return "path templates ({*}, {**}) stand in paths only";
    return fault(t);
  });
}

/** "10.0.0.0/8" or an address. */
function isRange(t: string): boolean {
  const [address = "", length, ...rest] = t.split("/");
  const version = address.includes("%") ? 0 : isIP(address); // Envoy knows no zones
  const max = version === 6 ? 128 : 32;
  const whole = length === undefined || (/^(0|[1-9]\d{0,2})$/.test(length) && Number(length) <= max);
  return version > 0 && rest.length === 0 && whole;
}

const MOST_ACCOUNTS = 16;
const LONGEST_ACCOUNT = 320;
function accountFault(t: string): string | null {
  if (t.includes("*")) return "patterns are not allowed here: name each service account";
  if (t.length > LONGEST_ACCOUNT) return `is longer than ${LONGEST_ACCOUNT} characters`;
  return /^[^/]+(\/[^/]+)?$/.test(t) ? null : `must be "account" or "namespace/account", not "${t}"`;
}

function trustDomainFault(t: string): string | null {
  if (t.includes("/")) return "a trust domain has no /";
  return /^[^*]*$|^\*[^*]*$|^[^*]*\*$/.test(t)
    ? null
    : 'at most one "*" is allowed, at the beginning or the end';
}

export const plain = value("any");
export const principals = list(value("principal"));
export const namespaces = list(value("namespace"));
export const hosts = list(value("host"));
export const methods = list(value("method"));
export const paths = list(value("path", pathFault));
// A range that cannot be read would refuse the whole listener at the proxy.
export const ranges = list(
  value("range", (t) => (isRange(t) ? null : "must be an IP address or range, such as 10.0.0.0/8")),
);
export const ports = list(
  value("port", (t) =>
    /^[1-9]\d{0,4}$/.test(t) && Number(t) <= 65535
      ? null
      : `must be a port number from 1 to 65535, not "${t}"`,
  ),
);
export const serviceAccounts = refine(list(value("service-account", accountFault)), (all, path, report) => {
  if (all.length > MOST_ACCOUNTS)
    report(path, "invalid-value", `has ${all.length} values, and Istio takes at most ${MOST_ACCOUNTS}`);
});
export const trustDomains = list(value("trust-domain", trustDomainFault));
