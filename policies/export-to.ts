import { check, isLabel, list, type Schema, text } from "./schema.ts";

/** Namespaces whose clients see an object: "." its own, "*" all, a name; a ServiceEntry may say "~", none. */
export function exportTo(options: { none?: boolean } = {}): Schema<readonly string[]> {
  const one = check(text("export-to"), (to) =>
    to === "." || to === "*" || (to === "~" && options.none) || isLabel(to)
      ? null
      : `must be ".", "*" or a namespace, not ${JSON.stringify(to)}`,
  );
  return check(list(one), (all) => {
    if (new Set(all).size < all.length) return "names a namespace twice";
    const alone = all.find((to) => to === "*" || to === "~");
    return alone !== undefined && all.length > 1 ? `"${alone}" stands alone, or not at all` : null;
  });
}
