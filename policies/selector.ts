import { labels, object, refine } from "./schema.ts";

/** Chooses workloads of the policy's namespace by their labels; Istio has no patterns here. */
export const selector = refine(object({ matchLabels: labels }), (s, path, report) => {
  for (const [key, value] of Object.entries(s.matchLabels ?? {}))
    if (key === "" || `${key}${value}`.includes("*"))
      report(
        [...path, "matchLabels", key],
        "invalid-value",
        "labels are compared as they stand: no patterns, no empty name",
      );
});
