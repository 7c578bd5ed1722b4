import type { World } from "#policies/index.ts";
import { type ResourceSet, shortType } from "#xds/index.ts";
import { type Blamed, blame } from "../serve/blame.ts";
import type { ProxyStatus } from "../serve/status.ts";

export interface Refusal {
  readonly nodeId: string;
  readonly type: string;
  readonly nack: string;
  readonly policies: readonly Blamed[];
}

/** What proxies refuse now, and the policies behind it. */
export function refusals(
  proxies: readonly ProxyStatus[],
  given: ReadonlyMap<string, ResourceSet | null>,
  world: World,
): Refusal[] {
  return proxies.flatMap(({ nodeId, types }) =>
    Object.entries(types).flatMap(([type, { nack }]) =>
      nack === undefined
        ? []
        : [{ nodeId, type, nack, policies: blame(world, type, given.get(nodeId) ?? null, nack) }],
    ),
  );
}

export function sayRefusal({ type, nack, policies }: Refusal): string {
  const [first, ...others] = policies.map(({ object, file, line }) => `${file}:${line}: ${object}`);
  const also = others.length === 0 ? "" : ` (or ${others.join(", ")})`;
  return `${first === undefined ? "" : `${first}${also}: `}${shortType(type)} refused: ${nack}`;
}
