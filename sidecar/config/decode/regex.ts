/** safe_regex: RE2 semantics, the whole value must match. */
import { RE2JS } from "re2js";
import type { Problems } from "./problems.ts";

const never = (): boolean => false;
/** Istio's re2.max_program_size.error_level: what one match may cost is program times text. */
const MAX_PROGRAM_SIZE = 32_768;

/** An invalid or too large pattern is an error and matches nothing. */
export function compileRegex(
  pattern: string,
  problems: Problems,
  ignoreCase = false,
): (value: string) => boolean {
  // The native engine backtracks. It is safe, and means the same as RE2, for literals with at most one `.*` or `.+`.
  if (!ignoreCase && /^[\w/ :-]*(\.[*+])?[\w/ :-]*$/.test(pattern)) {
    const native = new RegExp(`^(?:${pattern})$`, "s");
    return (value) => native.test(value);
  }
  try {
    const re = compiled(pattern, ignoreCase ? RE2JS.CASE_INSENSITIVE : 0);
    return (value) => re.matches(value);
  } catch (error) {
    problems.error(
      `invalid RE2 pattern ${JSON.stringify(pattern)}: ${error instanceof Error ? error.message : error}`,
    );
    return never;
  }
}

function compiled(pattern: string, flags: number): RE2JS {
  const re = RE2JS.compile(pattern, flags);
  const size = re.programSize();
  if (size > MAX_PROGRAM_SIZE)
    throw new Error(`program size of ${size} > max program size of ${MAX_PROGRAM_SIZE}`);
  return re;
}

/** Replaces all matches (RE2 "\\1" substitutions) as regex_rewrite does. */
export function compileSubstitution(
  pattern: string,
  substitution: string,
  problems: Problems,
): (value: string) => string {
  try {
    const re = compiled(pattern, 0);
    const parts = parseSubstitution(substitution);
    const groups = re.groupCount();
    for (const part of parts)
      if (typeof part === "number" && part > groups)
        problems.error(`substitution ${JSON.stringify(substitution)}: the pattern has ${groups} groups`);
    return (value) => {
      const matcher = re.matcher(value);
      let out = "";
      let from = 0;
      while (matcher.find()) {
        out += value.slice(from, matcher.start());
        for (const part of parts) out += typeof part === "number" ? (matcher.group(part) ?? "") : part;
        from = matcher.end();
      }
      return out + value.slice(from);
    };
  } catch (error) {
    problems.error(
      `invalid RE2 pattern ${JSON.stringify(pattern)}: ${error instanceof Error ? error.message : error}`,
    );
    return (value) => value;
  }
}

/** RE2: \1 is a group (one digit, \0 all), \\ a backslash; everything else stands for itself. */
function parseSubstitution(text: string): (string | number)[] {
  const tokens = text.match(/\\\d|\\\\|\\|[^\\]+/g) ?? [];
  return tokens.map((t) => (/^\\\d$/.test(t) ? Number(t[1]) : t === "\\\\" ? "\\" : t));
}
