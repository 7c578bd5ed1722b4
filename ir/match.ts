/** How one string is compared. `regex` is RE2 syntax and must match the whole value. */
export type StringMatchIr =
  | { readonly kind: "exact"; readonly value: string }
  | { readonly kind: "prefix"; readonly value: string }
  | { readonly kind: "suffix"; readonly value: string }
  | { readonly kind: "regex"; readonly value: string }
  | { readonly kind: "present" };

/**
 * How the path (without query) is compared. `prefix` is Istio's plain string prefix; `segments` is the Gateway API's
 * PathPrefix: whole segments only, value without trailing slash.
 */
export type PathMatchIr =
  | { readonly kind: "exact"; readonly value: string }
  | { readonly kind: "prefix"; readonly value: string }
  | { readonly kind: "segments"; readonly value: string }
  | { readonly kind: "regex"; readonly value: string };

export interface HeaderMatchIr {
  /** Lower case; `:method`, `:authority`, `:scheme` for the pseudo headers. */
  readonly name: string;
  readonly match: StringMatchIr;
  /** true = the rule holds when the header does not match; a missing header counts as the empty string. */
  readonly invert: boolean;
  readonly ignoreCase: boolean;
}

export interface QueryMatchIr {
  readonly name: string;
  readonly match: StringMatchIr;
}

/** All conditions must hold. An empty match takes every request. */
export interface RouteMatchIr {
  readonly path: PathMatchIr | null;
  readonly ignorePathCase: boolean;
  readonly headers: readonly HeaderMatchIr[];
  readonly query: readonly QueryMatchIr[];
}
