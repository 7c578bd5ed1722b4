/** safe_regex: RE2 semantics, the whole value must match. */
import { RE2JS } from "re2js";
import type { Problems } from "./problems.ts";

const never = (): boolean => false;

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
    const re = RE2JS.compile(pattern, ignoreCase ? RE2JS.CASE_INSENSITIVE : 0);
    return (value) => re.matches(value);
  } catch (error) {
    problems.error(
      `invalid RE2 pattern ${JSON.stringify(pattern)}: ${error instanceof Error ? error.message : error}`,
    );
    return never;
  }
}

/** Replaces all matches (RE2 "\\1" substitutions) as regex_rewrite does. */
export function compileSubstitution(
  pattern: string,
  substitution: string,
  problems: Problems,
): (value: string) => string {
  try {
    const re = RE2JS.compile(pattern);
    const to = substitution.replace(/\$/g, "\\$").replace(/\\(\d)/g, "$$$1");
    return (value) => re.matcher(value).replaceAll(to);
  } catch (error) {
    problems.error(
      `invalid RE2 pattern ${JSON.stringify(pattern)}: ${error instanceof Error ? error.message : error}`,
    );
    return (value) => value;
  }
}
