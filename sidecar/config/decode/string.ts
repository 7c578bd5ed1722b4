import type { StringMatcher as Wire } from "#xds/gen/envoy/type/matcher/v3/string_pb.js";
import type { StringMatcher } from "../../snapshot.ts";
import type { Problems } from "./problems.ts";
import { compileRegex } from "./regex.ts";

export function decodeString(wire: Wire | undefined, problems: Problems): StringMatcher {
  const pattern = wire?.matchPattern;
  const fold = wire?.ignoreCase === true;
  switch (pattern?.case) {
    case "safeRegex":
      return {
        kind: "regex",
        text: pattern.value.regex,
        matches: compileRegex(pattern.value.regex, problems, false),
      };
    case "exact":
    case "prefix":
    case "suffix":
    case "contains":
      return plainMatcher(pattern.case, pattern.value, fold);
    default:
      problems.error(`string matcher ${pattern?.case ?? "(none)"} is not supported`);
      return { kind: "exact", text: "", matches: () => false };
  }
}

/** `fold`: ignore_case. */
export function plainMatcher(
  kind: "exact" | "prefix" | "suffix" | "contains",
  value: string,
  fold = false,
): StringMatcher {
  const text = fold ? value.toLowerCase() : value;
  const on = (test: (input: string) => boolean) =>
    fold ? (input: string) => test(input.toLowerCase()) : test;
  switch (kind) {
    case "exact":
      return { kind, text: value, matches: on((input) => input === text) };
    case "prefix":
      return { kind, text: value, matches: on((input) => input.startsWith(text)) };
    case "suffix":
      return { kind, text: value, matches: on((input) => input.endsWith(text)) };
    case "contains":
      return { kind, text: value, matches: on((input) => input.includes(text)) };
  }
}
