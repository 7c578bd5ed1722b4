import type { HeaderMatcher as Wire } from "#xds/gen/envoy/config/route/v3/route_components_pb.js";
import type { HeadView } from "../../snapshot.ts";
import type { Problems } from "./problems.ts";
import { compileRegex } from "./regex.ts";
import { decodeString, plainMatcher } from "./string.ts";

export interface HeaderMatch {
  readonly text: string;
  matches(head: HeadView): boolean;
}

/**
 * Each field's value is judged by itself and the joined value too is never used: with "a, b" sent as two fields an
 * exact DENY on "a" must still bite (CVE-2023-27487 family), so a match is a match of any one value.
 */
export function decodeHeader(wire: Wire, problems: Problems): HeaderMatch {
  const name = wire.name.toLowerCase();
  const test = decodeTest(wire, problems);
  const { invertMatch: invert, treatMissingHeaderAsEmpty: missingIsEmpty } = wire;
  const text = `${invert ? "not " : ""}${name} ${wire.headerMatchSpecifier.case ?? "present"}`;
  const spec = wire.headerMatchSpecifier;
  if (test === null) {
    const wanted = spec.case === "presentMatch" ? spec.value !== invert : !invert;
    return { text, matches: (head) => values(head, name).length > 0 === wanted };
  }
  return {
    text,
    matches: (head) => {
      const found = values(head, name);
      if (found.length === 0) return missingIsEmpty ? test("") !== invert : false;
      for (const value of found) if (test(value)) return !invert;
      return invert;
    },
  };
}

/** null = presence only. */
function decodeTest(wire: Wire, problems: Problems): ((value: string) => boolean) | null {
  const spec = wire.headerMatchSpecifier;
  switch (spec.case) {
    case undefined:
    case "presentMatch":
      return null;
    case "stringMatch":
      return decodeString(spec.value, problems.at("string_match")).matches;
    case "exactMatch":
      return plainMatcher("exact", spec.value).matches;
    case "prefixMatch":
      return plainMatcher("prefix", spec.value).matches;
    case "suffixMatch":
      return plainMatcher("suffix", spec.value).matches;
    case "containsMatch":
      return plainMatcher("contains", spec.value).matches;
    case "safeRegexMatch":
      return compileRegex(spec.value.regex, problems.at("safe_regex_match"));
    case "rangeMatch": {
      const { start, end } = spec.value;
      return (value) => /^[+-]?\d{1,18}$/.test(value) && BigInt(value) >= start && BigInt(value) < end;
    }
  }
}

function values(head: HeadView, name: string): readonly string[] {
  switch (name) {
    case ":method":
      return [head.method];
    case ":path":
      return [head.path];
    case ":authority":
    case "host":
      return [head.authority];
    case ":scheme": {
      const scheme = head.get("x-forwarded-proto");
      return [scheme ?? "http"];
    }
    default:
      return head.getAll(name);
  }
}
