/**
 * Path templates as Envoy's uri_template extension reads them (extensions/path/match/uri_template/v3): `*` is one
 * segment, `**` any text to its end, `{name}` and `{name=...}` are the same with a name. At most one `**`, and no
 * operator behind it. So a match needs no search: one pass from the front, one from the end, linear in the path.
 */

/** One segment, or the text of one; "literal" holds the text that must stand there. */
type Segment = { readonly kind: "literal"; readonly text: string } | { readonly kind: "*" | "**" };

/** RFC 3986 pchar. Envoy 1.40 takes "a*" too, but reads it as a repetition of "a": nobody can have meant that. */
const LITERAL = /^[-a-zA-Z0-9._~%!$&'()+,;:@=]+$/;
const MOST_VARIABLES = 5;
const LONGEST_NAME = 16;

/** Returns the match, or says why Envoy would refuse the template. */
export function compileUriTemplate(template: string): ((path: string) => boolean) | string {
  const parsed = parse(template);
  if (typeof parsed === "string") return parsed;
  const { segments, suffix } = parsed;
  const glob = segments.findIndex((s) => s.kind === "**");
  const head = glob < 0 ? segments : segments.slice(0, glob);
  // What stands behind `**` is literal: the end of the path is known text.
  const tail =
    glob < 0
      ? ""
      : segments
          .slice(glob + 1)
          .map((s) => `/${s.kind === "literal" ? s.text : ""}`)
          .join("") + suffix;
  return (path) => {
    let at = 0;
    for (let i = 0; i < head.length; i++) {
      if (path.charCodeAt(at) !== SLASH) return false;
      const slash = path.indexOf("/", at + 1);
      const last = glob < 0 && i === head.length - 1;
      if (last && slash >= 0) return false;
      const end = slash < 0 ? path.length : slash;
      if (!segmentMatches(head[i]!, path.slice(at + 1, end), last ? suffix : "")) return false;
      at = end;
    }
    if (glob < 0) return segments.length === 0 ? path === "/" : at === path.length;
    if (path.charCodeAt(at) !== SLASH) return false;
    const end = path.length - tail.length;
    return end > at && path.endsWith(tail) && isText(path, at + 1, end, true);
  };
}
const SLASH = 0x2f;

function segmentMatches(segment: Segment, text: string, suffix: string): boolean {
  if (segment.kind === "literal") return text === segment.text + suffix;
  const end = text.length - suffix.length;
  return end > 0 && text.endsWith(suffix) && isText(text, 0, end, false);
}

/** Only characters that an operator takes. */
function isText(text: string, from: number, to: number, slashes: boolean): boolean {
  for (let i = from; i < to; i++) {
    const c = text.charCodeAt(i);
    if (c >= 128 || OPERAND[c] === 0) {
      if (c === SLASH && slashes) continue;
      return false;
    }
  }
  return true;
}
/** A path may hold "*" (CVE-2025-46821). */
const OPERAND = Uint8Array.from({ length: 128 }, (_, c) =>
  c === 0x2a || LITERAL.test(String.fromCharCode(c)) ? 1 : 0,
);

function parse(template: string): { segments: Segment[]; suffix: string } | string {
  if (!/^\/[!-~]*$/.test(template)) return "must begin with / and hold only printable characters of ASCII";
  const segments: Segment[] = [];
  const names = new Set<string>();
  let suffix = "";
  let rest = template.slice(1);
  while (rest !== "") {
    let taken: number | string;
    if (rest.startsWith("{")) taken = parseVariable(rest, segments, names);
    else taken = parseSegment(rest, segments);
    if (typeof taken === "string") return taken;
    rest = rest.slice(taken);
    if (rest === "") break;
    if (rest === "/") {
      segments.push({ kind: "literal", text: "" });
      break;
    }
    if (rest.startsWith("/")) {
      rest = rest.slice(1);
      continue;
    }
    // Text directly behind an operator or a variable ends the template.
    if (!LITERAL.test(rest)) return `only literal text may stand behind an operator, not "${rest}"`;
    suffix = rest;
    break;
  }
  const glob = segments.findIndex((s) => s.kind === "**");
  if (glob >= 0 && segments.slice(glob + 1).some((s) => s.kind !== "literal"))
    return "no operator may stand behind **";
  return { segments, suffix };
}

/** `*`, `**` or a literal; the number of characters that it takes. */
function parseSegment(text: string, segments: Segment[]): number | string {
  const operator = /^\*\*?/.exec(text)?.[0] as "*" | "**" | undefined;
  if (operator !== undefined) {
    segments.push({ kind: operator });
    return operator.length;
  }
  const literal = text.split("/", 1)[0]!;
  if (!LITERAL.test(literal)) return `"${literal}" is no literal segment`;
  segments.push({ kind: "literal", text: literal });
  return literal.length;
}

function parseVariable(text: string, segments: Segment[], names: Set<string>): number | string {
  const end = text.indexOf("}");
  if (end < 0) return "a { has no }";
  const [name = "", ...patterns] = text.slice(1, end).split("=");
  if (!/^[a-zA-Z][a-zA-Z0-9_]*$/.test(name) || name.length > LONGEST_NAME)
    return `"${name}" is no variable name of at most ${LONGEST_NAME} letters, digits and _`;
  if (names.has(name)) return `the variable ${name} stands there twice`;
  names.add(name);
  if (names.size > MOST_VARIABLES) return `more than ${MOST_VARIABLES} variables`;
  let pattern = patterns.length === 0 ? "*" : patterns.join("=");
  if (pattern === "") return `the variable ${name} has an empty pattern`;
  while (pattern !== "") {
    const taken = parseSegment(pattern, segments);
    if (typeof taken === "string") return taken;
    pattern = pattern.slice(taken);
    if (pattern === "") break;
    if (pattern[0] !== "/" || pattern.length === 1) return `the pattern of the variable ${name} is broken`;
    pattern = pattern.slice(1);
  }
  return end + 1;
}
