/** Why an authorization filter said what it said: each policy that was asked, and the first clause that failed. */
import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import type { WorkloadInfo } from "#control-plane/admin/contract.ts";
import { Problems } from "#sidecar/config/decode/problems.ts";
import { decodeRbac } from "#sidecar/config/decode/rbac.ts";
import { configRegistry } from "#sidecar/config/registry.ts";
import { evaluateRbac, type RbacInput } from "#sidecar/filters/rbac.ts";
import { RBACSchema } from "#xds/gen/envoy/config/rbac/v3/rbac_pb.js";
import type { Place } from "./contract.ts";
import { placeOf } from "./places.ts";

type Json = Readonly<Record<string, unknown>>;

export interface RbacRulesJson {
  readonly action?: string;
  readonly policies?: Readonly<Record<string, PolicyJson>>;
}
interface PolicyJson {
  readonly permissions: readonly Json[];
  readonly principals: readonly Json[];
}

export interface PolicyVerdict {
  readonly name: string;
  readonly place: Place | null;
  readonly matched: boolean;
  /** The first clause that failed, for people; null when it matched. */
  readonly failed: string | null;
}

/** Every policy of the rules, asked. */
export function askPolicies(rules: RbacRulesJson, input: RbacInput, workload: WorkloadInfo): PolicyVerdict[] {
  return Object.entries(rules.policies ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, policy]) => {
      const failed =
        firstFailed(policy.principals, "principals", input) ??
        firstFailed(policy.permissions, "permissions", input);
      return { name: readable(name), place: placeOfPolicy(name, workload), matched: failed === null, failed };
    });
}

/** `ns[default]-policy[reviews]-rule[0]`, as istiod names them. */
const NAME = /^ns\[(.*)\]-policy\[(.*)\]-rule\[(\d+)\]$/;

function readable(name: string): string {
  const [, namespace, policy, rule] = NAME.exec(name) ?? [];
  return policy === undefined ? name : `rule ${rule} of ${namespace}/${policy}`;
}

function placeOfPolicy(name: string, workload: WorkloadInfo): Place | null {
  const [, namespace, policy, rule] = NAME.exec(name) ?? [];
  const found = workload.authorization.find(
    (a) => a.source.namespace === namespace && a.source.name === policy,
  );
  if (found === undefined) return null;
  return placeOf(found.rules.find((r) => r.index === Number(rule))?.source ?? found.source);
}

/** Null: one of the alternatives holds. Otherwise the first failed clause of the one that came furthest. */
function firstFailed(
  alternatives: readonly Json[],
  part: "permissions" | "principals",
  input: RbacInput,
): string | null {
  let best: { held: number; clause: Json } | null = null;
  for (const alternative of alternatives) {
    const all = listOf(alternative, part === "permissions" ? "andRules" : "andIds") ?? [alternative];
    const failing = all.findIndex((clause) => !holds(clause, part, input));
    if (failing === -1) return null;
    if (best === null || failing > best.held) best = { held: failing, clause: all[failing]! };
  }
  if (best === null) return "it has no rule that could match";
  return `${describe(best.clause)}${got(best.clause, input)}`;
}

function holds(clause: Json, part: "permissions" | "principals", input: RbacInput): boolean {
  const other = { any: true };
  const policy =
    part === "permissions"
      ? { permissions: [clause], principals: [other] }
      : { permissions: [other], principals: [clause] };
  const wire = fromJson(RBACSchema, { policies: { x: policy } } as unknown as JsonValue, {
    registry: configRegistry(),
    ignoreUnknownFields: true,
  });
  const rbac = decodeRbac({ rules: wire }, new Problems());
  return evaluateRbac(rbac, input).allowed;
}

function listOf(clause: Json, key: string): readonly Json[] | null {
  const value = clause[key] as { rules?: readonly Json[]; ids?: readonly Json[] } | undefined;
  return value === undefined ? null : (value.rules ?? value.ids ?? []);
}

/** A clause in the words of AuthorizationPolicy. */
function describe(clause: Json): string {
  const [key = "", value] = Object.entries(clause)[0] ?? [];
  const list = listOf(clause, key);
  if (key === "orRules" || key === "orIds") return grouped(list!.map(describe));
  if (key === "andRules" || key === "andIds") return list!.map(describe).join(" and ");
  if (key === "notRule" || key === "notId") return `not (${describe(value as Json)})`;
  const object = value as Json;
  switch (key) {
    case "any":
      return "anything";
    case "authenticated":
      return object["principalName"] === undefined
        ? "a proven identity"
        : `principal ${text(object["principalName"])}`;
    case "filterState":
      return `principal ${text(object["stringMatch"])}`;
    case "header": {
      const name = String(object["name"]);
      const wanted = text(object["stringMatch"] ?? object);
      if (name === ":method") return `method ${wanted}`;
      if (name === ":authority" || name === "host") return `host ${wanted}`;
      return `header ${name} ${wanted}`;
    }
    case "urlPath":
      return `path ${text(object["path"])}`;
    case "uriTemplate":
      return "path by its template";
    case "destinationPort":
      return `port ${value}`;
    case "destinationIp":
      return `destination ${cidr(object)}`;
    case "sourceIp":
    case "directRemoteIp":
      return `source address ${cidr(object)}`;
    case "remoteIp":
      return `client address ${cidr(object)}`;
    case "requestedServerName":
      return `server name ${text(object)}`;
    default:
      return key;
  }
}

/** "method GET", "method POST" -> "method GET or POST". */
function grouped(parts: readonly string[]): string {
  const noun = /^(\S+) /.exec(parts[0] ?? "")?.[0] ?? "";
  if (noun === "" || !parts.every((p) => p.startsWith(noun))) return parts.join(" or ");
  return noun + parts.map((p) => p.slice(noun.length)).join(" or ");
}

function text(matcher: unknown): string {
  const { exact, prefix, suffix, contains, safeRegex } = (matcher ?? {}) as Record<string, unknown>;
  if (exact !== undefined) return bare(String(exact));
  if (prefix !== undefined) return `${bare(String(prefix))}*`;
  if (suffix !== undefined) return `*${suffix}`;
  if (contains !== undefined) return `*${contains}*`;
  if (safeRegex !== undefined) return `/${(safeRegex as { regex?: string }).regex}/`;
  return "present";
}

/** As policies write principals: without the scheme. */
function bare(value: string): string {
  return value.replace(/^spiffe:\/\//, "");
}

function cidr({ addressPrefix, prefixLen }: Json): string {
  return `${addressPrefix}/${prefixLen ?? 0}`;
}

/** What the request has where the clause looked. */
function got(clause: Json, { connection, head, remoteAddress }: RbacInput): string {
  const looked = JSON.stringify(clause);
  if (/"authenticated"|"filterState"/.test(looked)) {
    const [id] = connection.peerIdentities;
    return id === undefined
      ? ", but the caller has proven none (plaintext)"
      : `, but the caller is ${bare(id)}`;
  }
  const header = /"header":\{"name":"([^"]+)"/.exec(looked)?.[1];
  if (header !== undefined) {
    const value = head?.get(header) ?? null;
    if (header === ":method") return `, but it is ${value}`;
    return value === null ? ", but there is none" : `, but it is ${value}`;
  }
  if (looked.includes('"urlPath"') || looked.includes('"uriTemplate"')) return `, but it is ${head?.path}`;
  if (looked.includes('"destinationPort"')) return `, but it is ${connection.destinationPort}`;
  if (looked.includes('"remoteIp"')) return `, but it is ${remoteAddress}`;
  if (looked.includes('emoteIp"') || looked.includes('"sourceIp"'))
    return `, but it is ${connection.sourceAddress}`;
  return "";
}
