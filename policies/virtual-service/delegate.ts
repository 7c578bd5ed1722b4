/** Delegation: the rules of a root VirtualService with those of its delegates in their places. */
import { Memo } from "#lib/memo.ts";
import type { Path } from "../schema.ts";
import { isExported, objectsOf, type PolicyWorld } from "../world.ts";
import type { VirtualService } from "./resolve.ts";
import type { HttpMatchSpec, HttpRouteSpec, StringMatchSpec } from "./spec.ts";

/** One HTTP rule as it holds. A delegate's rule has its own object, so that names and lines are read where they stand. */
export interface EffectiveRule {
  readonly owner: VirtualService;
  readonly route: HttpRouteSpec;
  /** Never empty; a null match takes every request. `path` leads to it in `owner`. */
  readonly matches: readonly { readonly match: HttpMatchSpec | null; readonly path: Path }[];
}

/** A delegate's rule that holds nothing of what the root hands on. */
export interface DroppedRule {
  readonly delegate: VirtualService;
  readonly rule: number;
}

interface Expanded {
  readonly rules: readonly EffectiveRule[];
  readonly dropped: readonly DroppedRule[];
}

type Objects = Pick<PolicyWorld, "objects">;

const expanded = new Memo<WeakMap<VirtualService, Expanded>>();
/** The same whoever asks; conditions about the client are still in the matches. */
export function rulesOf(world: Objects, vs: VirtualService): Expanded {
  const known = expanded.get(world.objects, "", () => new WeakMap());
  let found = known.get(vs);
  if (found === undefined) {
    found = expand(world, vs);
    known.set(vs, found);
  }
  return found;
}

const byName = new Memo<ReadonlyMap<string, VirtualService>>();
/** By an index that is made once per world. */
export function findVirtualService(
  world: Objects,
  namespace: string,
  name: string,
): VirtualService | undefined {
  const index = byName.get(
    world.objects,
    "",
    () =>
      new Map(
        objectsOf(world, "networking.istio.io/VirtualService").map((v) => [`${v.namespace}/${v.name}`, v]),
      ),
  );
  return index.get(`${namespace}/${name}`);
}

/** Why a VirtualService that another one names cannot be its delegate; null = it can. */
export function delegateFault(root: VirtualService, target: VirtualService): string | null {
  if ((target.spec.hosts ?? []).length > 0) return "has hosts of its own: a delegate has none";
  if ((target.spec.http ?? []).some((h) => h.delegate))
    return "delegates itself: only one level is allowed (this also refuses cycles)";
  if (!isExported(target.spec.exportTo, target.namespace, root.namespace))
    return `is not exported to namespace ${root.namespace}`;
  return null;
}

function expand(world: Objects, root: VirtualService): Expanded {
  const rules: EffectiveRule[] = [];
  const dropped: DroppedRule[] = [];
  for (const [i, route] of (root.spec.http ?? []).entries()) {
    if (route.delegate === undefined) {
      rules.push({ owner: root, route, matches: matchesOf(route, i) });
      continue;
    }
    const target = findVirtualService(
      world,
      route.delegate.namespace ?? root.namespace,
      route.delegate.name ?? "",
    );
    if (target === undefined || delegateFault(root, target) !== null) continue;
    for (const [k, inner] of (target.spec.http ?? []).entries()) {
      const matches = mergeMatches(route, matchesOf(inner, k));
      if (matches === null) dropped.push({ delegate: target, rule: k });
      else rules.push({ owner: target, route: mergeRoutes(route, inner), matches });
    }
  }
  return { rules, dropped };
}

function matchesOf(route: HttpRouteSpec, i: number): EffectiveRule["matches"] {
  const given = route.match ?? [];
  if (given.length === 0) return [{ match: null, path: ["spec", "http", i] }];
  return given.map((match, j) => ({ match, path: ["spec", "http", i, "match", j] }));
}

/** The delegate's word counts, the root's where it says nothing (Istio mergeHTTPRoute). */
function mergeRoutes(root: HttpRouteSpec, leaf: HttpRouteSpec): HttpRouteSpec {
  const { delegate: _, match: __, ...inherited } = root;
  const said = Object.fromEntries(Object.entries(leaf).filter(([, value]) => value !== undefined));
  const merged = { ...inherited, ...said } as HttpRouteSpec;
  return { ...merged, delegate: undefined, name: joined(root.name, leaf.name) };
}

function joined(root: string | undefined, leaf: string | undefined): string | undefined {
  return [root, leaf].filter(Boolean).join("-") || undefined;
}

/** Each match of the delegate inside each of the root's that can hold it; null if one of them fits in none (Istio). */
function mergeMatches(
  root: HttpRouteSpec,
  leaves: EffectiveRule["matches"],
): EffectiveRule["matches"] | null {
  const outer = root.match ?? [];
  if (outer.length === 0) return leaves;
  const merged: { match: HttpMatchSpec; path: Path }[] = [];
  for (const { match: leaf, path } of leaves) {
    const fitting = outer.filter((o) => leaf === null || !conflicts(o, leaf));
    if (fitting.length === 0) return null;
    for (const o of fitting) merged.push({ match: leaf === null ? o : mergeMatch(o, leaf), path });
  }
  return merged;
}

type Named = Readonly<Record<string, StringMatchSpec>> | undefined;

function mergeMatch(root: HttpMatchSpec, leaf: HttpMatchSpec): HttpMatchSpec {
  const named = (
    a: Named,
    b: Named,
    choose: (root: StringMatchSpec, leaf: StringMatchSpec) => StringMatchSpec,
  ) => {
    const both: Record<string, StringMatchSpec> = { ...a };
    for (const [name, leaf] of Object.entries(b ?? {})) {
      const root = both[name];
      both[name] = root === undefined ? leaf : choose(root, leaf);
    }
    return Object.keys(both).length === 0 ? undefined : both;
  };
  const labels = { ...root.sourceLabels, ...leaf.sourceLabels };
  return {
    name: joined(root.name, leaf.name),
    uri: narrower(root.uri, leaf.uri),
    ignoreUriCase: (leaf.uri === undefined ? root : leaf).ignoreUriCase,
    scheme: narrower(root.scheme, leaf.scheme),
    method: narrower(root.method, leaf.method),
    authority: narrower(root.authority, leaf.authority),
    headers: named(root.headers, leaf.headers, narrower),
    // What is excluded adds up: the wider exclusion holds.
    withoutHeaders: named(root.withoutHeaders, leaf.withoutHeaders, (a, b) => (isPresent(b) ? b : a)),
    queryParams: named(root.queryParams, leaf.queryParams, narrower),
    port: leaf.port ?? root.port,
    sourceLabels: Object.keys(labels).length === 0 ? undefined : labels,
    sourceNamespace: leaf.sourceNamespace ?? root.sourceNamespace,
    gateways: leaf.gateways?.length ? leaf.gateways : root.gateways,
  };
}

function isPresent(m: StringMatchSpec): boolean {
  return m.exact === undefined && m.prefix === undefined && m.regex === undefined;
}

/** Of two that do not conflict. `{}` (present) says less than any value. */
function narrower<T extends StringMatchSpec | undefined>(root: T, leaf: T): T {
  return leaf === undefined || (root !== undefined && isPresent(leaf)) ? root : leaf;
}

/** No request that the root hands on can be meant, as Istio judges it: by the form of the conditions. */
function conflicts(root: HttpMatchSpec, leaf: HttpMatchSpec): boolean {
  const fold = root.ignoreUriCase ?? false;
  if (root.uri !== undefined && leaf.uri !== undefined && fold !== (leaf.ignoreUriCase ?? false)) return true;
  if (valueConflicts(root.uri, leaf.uri, fold)) return true;
  for (const key of ["scheme", "method", "authority"] as const)
    if (valueConflicts(root[key], leaf[key])) return true;
  for (const key of ["headers", "withoutHeaders", "queryParams"] as const)
    for (const [name, m] of Object.entries(leaf[key] ?? {}))
      if (valueConflicts(root[key]?.[name], m)) return true;
  if (root.port !== undefined && leaf.port !== undefined && root.port !== leaf.port) return true;
  const [a, b] = [root.sourceNamespace, leaf.sourceNamespace];
  if (a !== undefined && b !== undefined && a !== b) return true;
  for (const [name, value] of Object.entries(leaf.sourceLabels ?? {})) {
    const wanted = root.sourceLabels?.[name];
    if (wanted !== undefined && wanted !== value) return true;
  }
  if (!root.gateways?.length || !leaf.gateways?.length) return false;
  return leaf.gateways.some((g) => !root.gateways?.includes(g));
}

function valueConflicts(
  root: StringMatchSpec | undefined,
  leaf: StringMatchSpec | undefined,
  fold = false,
): boolean {
  if (root === undefined || leaf === undefined || isPresent(root) || isPresent(leaf)) return false;
  const text = (value: string): string => (fold ? value.toLowerCase() : value);
  if (root.regex !== undefined || leaf.regex !== undefined) return root.regex !== leaf.regex;
  const inner = text((leaf.exact ?? leaf.prefix) as string);
  if (root.exact !== undefined) return leaf.exact === undefined || inner !== text(root.exact);
  return !inner.startsWith(text(root.prefix as string));
}
