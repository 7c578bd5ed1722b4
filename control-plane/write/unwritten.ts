import { AnySchema } from "@bufbuild/protobuf/wkt";
import type { AuthorizationIr, SourceRef } from "#ir/index.ts";
import { rbacFilters } from "./authorization.ts";
import { encode, type Json, type Resource } from "./resource.ts";

/**
 * A resource of a proxy, or a part of one, that could not be written. Whatever is accepted should be writable, so this is
 * a fault of ours; it is not to take the rest of the proxy's configuration with it.
 */
export interface Unwritten {
  readonly typeUrl: string;
  readonly name: string;
  readonly reason: string;
  /** The statements behind it: the one that cannot be written where that is known. */
  readonly sources: readonly SourceRef[];
  /** Of a route table that was written: the virtual host that answers 503 in it. Null: the resource is absent. */
  readonly host: string | null;
}

/** What there is of a proxy's resources, and what there is not. */
export class Writing {
  readonly resources: Resource[] = [];
  readonly unwritten: Unwritten[] = [];

  /** What `make` throws costs this resource alone. */
  add(
    typeUrl: string,
    name: string,
    blame: () => readonly SourceRef[],
    make: () => Resource | readonly Resource[],
  ): void {
    try {
      this.resources.push(...[make()].flat());
    } catch (error) {
      this.unwritten.push({ typeUrl, name, reason: (error as Error).message, sources: blame(), host: null });
    }
  }
}

/** The rules that cannot be written even by themselves. */
export function unwritableRules(authorization: AuthorizationIr): SourceRef[] {
  const none = { audit: [], deny: [], allow: [] };
  return (["audit", "deny", "allow"] as const).flatMap((set) =>
    authorization[set].flatMap((policy) =>
      policy.rules
        .filter((rule) => {
          const alone = { ...none, [set]: [{ ...policy, rules: [rule] }] };
          return [true, false].some((http) => fails(() => rbacFilters(alone, http).map(checked)));
        })
        .map(({ source }) => source),
    ),
  );
}

export function fails(make: () => unknown): boolean {
  try {
    make();
    return false;
  } catch {
    return true;
  }
}

function checked(filter: Json): Uint8Array {
  return encode(AnySchema, filter["typed_config"] as Json);
}
